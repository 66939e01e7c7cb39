//! What there is of everything, for the admin socket: the host's tables, and what each isolate says of its own.

use crate::host::Host;
use crate::worker::Worker;
use facetd_core::{CensusRequest, Counts, Message};
use futures::channel::oneshot;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// An isolate whose code runs on and on is not waited for.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// Whose counts these are.
pub struct Census {
    /// A worker's name; empty: the host's.
    pub worker: String,
    /// Made by a loader.
    pub loaded: bool,
    /// `None`: its isolate did not answer in time, or has ended meanwhile.
    pub counts: Option<Counts>,
}

impl Host {
    /// `collect`: garbage goes first.
    pub async fn census(&self, collect: bool) -> Vec<Census> {
        let loaded: Vec<Arc<Worker>> = {
            let loaded = self.inner().loaded.lock();
            loaded.iter().filter_map(Weak::upgrade).collect()
        };
        let mut asked = Vec::new();
        for worker in self.workers().iter().cloned().chain(loaded) {
            // Neither worker nor isolate is held meanwhile: they may end.
            worker.each_running(|isolate| {
                let (told, counts) = oneshot::channel();
                isolate.send(Message::Census(CensusRequest {
                    collect,
                    told: Box::new(move |counts| drop(told.send(counts))),
                }));
                asked.push((worker.name.clone(), worker.dynamic, counts));
            });
        }
        let mut all = vec![Census {
            worker: String::new(),
            loaded: false,
            counts: Some(self.own_counts()),
        }];
        for (worker, loaded, counts) in asked {
            let counts = tokio::time::timeout(ANSWER_TIME_MAX, counts).await;
            all.push(Census {
                worker,
                loaded,
                counts: counts.ok().and_then(Result::ok),
            });
        }
        all
    }

    fn own_counts(&self) -> Counts {
        let inner = self.inner();
        let mut counts = vec![
            ("seats", inner.seats.taken()),
            ("loaded_workers", inner.loaded_alive()),
            ("databases", facetd_isolate::databases_open()),
            ("objects", 0),
            ("facets", 0),
            ("facet_names", 0),
            ("trees", 0),
        ];
        for namespace in self.namespaces() {
            for (name, more) in namespace.0.counts() {
                if let Some((_, count)) = counts.iter_mut().find(|(known, _)| *known == name) {
                    *count += more;
                }
            }
        }
        counts
            .into_iter()
            .map(|(name, count)| (name.to_owned(), count as u64))
            .collect()
    }
}
