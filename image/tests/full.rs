//! A disk without a free block: what frees space works on it all the same.

use std::process::Command;

use testkit::{finish, needs};

use self::place::{DEADLINE, Place};

mod place;

/// Works on a small file system that this namespace alone sees.
const SCRIPT: &str = r#"
set -eu
kind=$1 mount=$2 archive=$3 program=$4
case $kind in
tmpfs) mount -t tmpfs -o size=4m tmpfs "$mount" ;;
ext4)
    truncate -s 8M "$mount.ext4"
    mkfs.ext4 -q -m 0 "$mount.ext4"
    mount -o loop "$mount.ext4" "$mount" ;;
esac
root=$mount/root
store() { "$program" --root "$root" --quiet "$@"; }
count() { store list | tail -n +2 | wc -l; }
fail() { echo "$*" >&2; exit 20; }
# What was removed just before is free only after a while.
fill() {
    cat /dev/zero > "$mount/fill" 2>/dev/null || true
    round=0
    while test $round -lt 20; do
        sync -f "$mount"
        number=0
        while head -c 1 /dev/zero > "$mount/fill.$round.$number" 2>/dev/null; do
            number=$((number + 1))
        done
        sync -f "$mount"
        round=$((round + 1))
        if ! head -c 1 /dev/zero 2>/dev/null > "$mount/fill.probe"; then return; fi
    done
    fail "the disk can't be filled"
}
store import "$archive" one
store tag one two
store tag one three
test -s "$root/reserve" || fail "there is no reserve"

# Without the reserve the list can't be written, and stays as it was.
rm "$root/reserve"
fill
if store remove one 2> "$mount.said"; then fail "removed without any room"; fi
grep -q ENOSPC "$mount.said" || fail "$(cat "$mount.said")"
test "$(count)" = 3 || fail "$(store list)"
rm "$mount"/fill*

# Any command makes it again.
store list > "$mount.said"
test -s "$root/reserve" || fail "no new reserve"
fill
store remove --no-prune one
fill
store remove --no-prune two
test "$(count)" = 1 || fail "$(store list)"
test -s "$root/reserve" || fail "the reserve was used up"
fill
if store import "$archive" more 2> "$mount.said"; then fail "imported without any room"; fi
grep -q ENOSPC "$mount.said" || fail "$(cat "$mount.said")"
store remove --no-prune three
fill
store prune --all
test -z "$(ls "$root/blobs/sha256")" || fail "$(ls "$root/blobs/sha256")"
rm "$mount"/fill*
store import "$archive" again

# Where nothing can be written there is no reserve, and reading goes on.
rm "$root/reserve"
mount -o remount,ro "$mount"
test "$(count)" = 1 || fail "$(store list)"
"#;

fn on_a_full_disk(kind: &str) {
    let place = Place::new("imgnoroom");
    let tree = place.path("tree");
    std::fs::create_dir(&tree).expect("it is ours");
    std::fs::write(tree.join("file"), vec![b'x'; 300_000]).expect("it is ours");
    let archive = place.path("tree.tar");
    place::pack(&tree, &archive);
    let mount = place.path("mount");
    std::fs::create_dir(&mount).expect("it is ours");
    let mut private = Command::new("unshare");
    private.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT]);
    private.args(["sh", kind]).arg(mount).arg(archive);
    private.arg(env!("CARGO_BIN_EXE_tare-image"));
    finish(&mut private, DEADLINE).succeeded();
    place.finish();
}

#[test]
fn images_are_removed_from_a_full_tmpfs() {
    needs!(Root);
    on_a_full_disk("tmpfs");
}

#[test]
fn images_are_removed_from_a_full_disk() {
    needs!(Root, Program("mkfs.ext4"));
    on_a_full_disk("ext4");
}
