//! A hostile program in a running container, and what it could do.

use serde_json::Value;

use crate::bundle::Bundle;
use crate::case::{Trouble, Verdict, failed, holds};
use crate::scene::Scene;

/// Starts a container whose program attacks.
pub(super) fn start(scene: &Scene<'_>, bundle: Bundle, words: &[&str]) -> Result<Bundle, Trouble> {
    let bundle = bundle.does(&[&["attack"], words].concat());
    scene.start(&bundle)?;
    Ok(bundle)
}

/// Stops the attack and gives what came of it.
pub(super) fn stop(scene: &Scene<'_>, bundle: &Bundle) -> Result<Value, Trouble> {
    std::fs::write(bundle.rootfs().join("stop"), "").expect("a file can be written");
    let out = bundle.rootfs().join("out");
    let read = || std::fs::read_to_string(&out).unwrap_or_default();
    let is_told = || serde_json::from_str::<Value>(&read()).is_ok();
    scene.until("the attacker ends", is_told)?;
    serde_json::from_str(&read()).or_else(|_| failed("what the attacker tells", read()))
}

/// Nothing that should not have been possible was.
pub(super) fn was_in_vain(told: &Value) -> Verdict {
    let escapes = told["escapes"].as_array();
    holds(
        escapes.is_some_and(Vec::is_empty),
        "no way out",
        &told["escapes"],
    )
}
