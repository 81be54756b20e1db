//! What the host sees of a container's process.

use serde_json::{Map, Value, json};

/// The facts of the process with this pid.
pub(super) fn facts(pid: i32) -> Value {
    let text = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        text.trim_end().to_owned()
    };
    json!({
        "namespaces": super::report::namespaces(&links(pid)),
        "oom_score_adj": text("oom_score_adj"),
        "uid_map": text("uid_map"),
        "gid_map": text("gid_map"),
        "setgroups": text("setgroups"),
        "limits": limits(&text("limits")),
    })
}

/// Soft and hard limit by name.
fn limits(text: &str) -> Value {
    let lines = text.lines().skip(1).filter_map(|line| {
        // `Max open files            1024                 4096                 files`
        let (name, values) = line.split_at_checked(26)?;
        let values: Vec<&str> = values.split_whitespace().take(2).collect();
        Some((name.trim().to_owned(), json!(values.join(" "))))
    });
    Value::Object(lines.collect::<Map<_, _>>())
}

fn links(pid: i32) -> Value {
    let entries = std::fs::read_dir(format!("/proc/{pid}/ns"));
    let links = entries.into_iter().flatten().flatten().filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let link = std::fs::read_link(entry.path()).ok()?;
        Some((name, json!(link.display().to_string())))
    });
    Value::Object(links.collect::<Map<_, _>>())
}
