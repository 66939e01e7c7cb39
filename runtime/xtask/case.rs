//! Conformance cases: run them alone, begin a new one.

use crate::cargo::Checkout;
use crate::{Usage, exit_code, one_filter, v8};
use anyhow::{Context, Result, bail};
use std::fs;
use std::process::ExitCode;

const WORKER: &str = "\
// TODO(case): which page of the platform's documentation this case pins, in one line.
export default {
  async fetch(request, env, ctx) {
    return new Response(\"hello\");
  },
};
";

/// `record.mjs --update` fills in what workerd answers; any other source than `workerd` keeps what is written here.
const CASE: &str = "\
{
  \"steps\": [
    {\"request\":{\"path\":\"/\"},\"expect\":{\"status\":200,\"text\":\"hello\"}}
  ],
  \"source\": \"workerd\"
}
";

/// `cargo xtask conformance [FILTER]`
///
/// The cases are data behind a few test functions whose names contain `conformance`, so the filter goes to them
/// in the variable FACETD_CONFORMANCE.
pub fn run(checkout: &Checkout, args: &[String]) -> Result<ExitCode> {
    let filter = one_filter(args)?;
    let archive = v8::ensure(checkout, false)?;
    let tally = checkout.test(
        &archive,
        &["--test", "*", "conformance"],
        filter.map(|filter| ("FACETD_CONFORMANCE", filter)),
    )?;
    println!("{tally}");
    Ok(exit_code(tally.is_good()))
}

/// `cargo xtask new-case AREA/NAME`
pub fn create(checkout: &Checkout, args: &[String]) -> Result<ExitCode> {
    let Some(name) = one_filter(args)?.filter(|name| is_case_name(name)) else {
        let text = "new-case wants a name such as alarms/precision: small letters, digits, - and _";
        return Err(Usage(text.into()).into());
    };
    let folder = checkout.path("tests/conformance").join(name);
    if folder.exists() {
        bail!("tests/conformance/{name} exists");
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(folder.join("worker.js"), WORKER)?;
    fs::write(folder.join("case.jsonc"), CASE)?;
    println!("wrote tests/conformance/{name}/worker.js and case.jsonc");
    println!("next: write the worker and its steps, then `cargo conformance {name}`");
    Ok(ExitCode::SUCCESS)
}

/// At least two parts, none of which leads anywhere else.
fn is_case_name(name: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && part.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_')
            })
    };
    name.contains('/') && name.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_case_name_stays_below_its_folder() {
        for good in ["alarms/precision", "a/b/c-1_x"] {
            assert!(is_case_name(good), "{good}");
        }
        for bad in [
            "alarms", "../x", "a//b", "/a/b", "a/b/", "a/..", "A/b", "a/b c", "",
        ] {
            assert!(!is_case_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_templates_are_well_formed() {
        let case: serde_json::Value = serde_json::from_str(CASE).unwrap();
        assert_eq!(
            case["steps"][0]["expect"]["status"], 200,
            "one step to begin with"
        );
    }
}
