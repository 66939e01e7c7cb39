//! What one isolate has of everything, for the admin socket.

use crate::isolate::Isolate;
use crate::turn::Payer;
use deno_core::v8;
use facetd_core::{CensusRequest, Counts};

/// Databases that are open in any isolate of the process.
pub fn databases_open() -> usize {
    facetd_storage::Databases::open_anywhere()
}

impl Isolate {
    /// Counts on the isolate's own thread: the tables are nobody else's to read.
    pub(crate) fn census(&mut self, request: CensusRequest) {
        if request.collect {
            // Twice: what a first collection lets go of may hold more, and exports are released by messages.
            for _ in 0..2 {
                self.runtime.v8_isolate().low_memory_notification();
                self.turn(Payer::Isolate, |_, _| ());
            }
        }
        let mut counts = Counts::new();
        let mut add = |name: &str, count: usize| counts.push((name.to_owned(), count as u64));
        add("contexts", self.state.contexts.borrow().len());
        add("objects", self.state.objects.borrow().len());
        add("events", self.state.events.borrow().len());
        add("calls", self.state.calls.borrow().len());
        add("exports", self.state.exports.borrow().len());
        add("sockets", self.state.sockets.borrow().len());
        add("fresh_sockets", self.state.fresh_sockets_len());
        add("databases", self.databases.open_here());
        add("cursors", self.databases.cursors_open());
        add("in_flight", self.control.in_flight_len());
        let resources = {
            let op_state = self.runtime.op_state();
            let op_state = op_state.borrow();
            op_state.resource_table.names().count()
        };
        add("resources", resources);
        let heap = self.runtime.v8_isolate().get_heap_statistics();
        add("heap_bytes", heap.used_heap_size());
        add("external_bytes", heap.external_memory());
        let tables = self.turn(Payer::Isolate, |scope, state| {
            let census = v8::Local::new(scope, &state.callbacks().census);
            let this = v8::undefined(scope).into();
            let list: v8::Local<v8::Array> = census.call(scope, this, &[])?.try_into().ok()?;
            let mut tables = Counts::new();
            for at in (0..list.length()).step_by(2) {
                let name = list.get_index(scope, at)?.to_rust_string_lossy(scope);
                let size = list.get_index(scope, at + 1)?.integer_value(scope)?;
                tables.push((format!("js_{name}"), u64::try_from(size).unwrap_or(0)));
            }
            Some(tables)
        });
        counts.extend(tables.flatten().into_iter().flatten());
        (request.told)(counts);
    }
}
