//! `linux.maskedPaths` and `linux.readonlyPaths`.

use std::ffi::CString;

use super::namespaces::MOUNT;
use super::place::Place;
use super::text::{c_string, clean, quoted};
use super::{Content, ContentAct, NamespacesPlan, Origin};
use crate::spec::{Linux, Text};
use crate::violation::Violations;

/// Adds read-only paths, then masked ones: a mask may lie below a read-only directory.
pub(super) fn plan(
    linux: &Linux<'_>,
    namespaces: &NamespacesPlan,
    contents: &mut Vec<Content>,
    violations: &mut Violations,
) {
    let readonly = linux.readonly_paths.as_deref().unwrap_or_default();
    list(
        "readonlyPaths",
        readonly,
        namespaces,
        violations,
        |path, index| {
            contents.push(Content {
                act: ContentAct::Readonly(path),
                origin: Origin::ReadonlyPath(index),
            });
        },
    );
    let masked = linux.masked_paths.as_deref().unwrap_or_default();
    list(
        "maskedPaths",
        masked,
        namespaces,
        violations,
        |path, index| {
            contents.push(Content {
                act: ContentAct::Masked(path),
                origin: Origin::MaskedPath(index),
            });
        },
    );
}

fn list(
    key: &str,
    paths: &[Text<'_>],
    namespaces: &NamespacesPlan,
    violations: &mut Violations,
    mut add: impl FnMut(CString, u16),
) {
    let linux = Place::ROOT.key("linux");
    let place = linux.key(key);
    if !paths.is_empty() && !namespaces.has(MOUNT) {
        violations.add(place, "need a namespace of type mount in linux.namespaces");
        return;
    }
    for (index, path) in paths.iter().enumerate() {
        if violations.is_full() {
            break;
        }
        let Ok(origin) = u16::try_from(index) else {
            violations.add(place, "are more than 65536");
            break;
        };
        let place = place.index(index);
        if !path.starts_with('/') {
            violations.add(place, format!("{} is not an absolute path", quoted(path)));
            continue;
        }
        let path = clean(path);
        if path == "/" {
            violations.add(place, "is the container's root");
        }
        add(c_string(&path, place, violations), origin);
    }
}
