//! What other programs see in an archive: Go's archive/tar, with which Docker, containerd and
//! podman unpack, and libarchive's bsdtar.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::finish;

use crate::scene::Scene;

const GO: &str = r##"
package main

import (
	"archive/tar"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	for _, path := range os.Args[1:] {
		fmt.Println("#", path)
		file, err := os.Open(path)
		if err != nil {
			panic(err)
		}
		show(tar.NewReader(file))
		file.Close()
	}
}

func show(archive *tar.Reader) {
	for {
		h, err := archive.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			fmt.Println("!", err)
			return
		}
		kind, detail := "file", fmt.Sprint(h.Size)
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
			continue
		case tar.TypeDir:
			kind, detail = "directory", ""
		case tar.TypeSymlink:
			kind, detail = "symlink", h.Linkname
		case tar.TypeLink:
			kind, detail = "link", h.Linkname
		case tar.TypeChar:
			kind, detail = "character", fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
		case tar.TypeBlock:
			kind, detail = "block", fmt.Sprintf("%d:%d", h.Devmajor, h.Devminor)
		case tar.TypeFifo:
			kind, detail = "fifo", ""
		}
		name := strings.TrimRight(h.Name, "/")
		fmt.Printf("%s %s %s %d:%d\n", name, kind, detail, h.Uid, h.Gid)
	}
}
"##;

/// What Go's archive/tar sees in each archive, in the lines in which we say it; the last one
/// begins with `!` where it gave up.
pub(crate) fn gos(scene: &Scene, paths: &[PathBuf]) -> Vec<Vec<String>> {
    let directory = scene.other("go");
    let (source, program) = (directory.join("main.go"), directory.join("list"));
    fs::write(&source, GO).expect("written");
    let mut build = Command::new("go");
    build.args(["build", "-o"]).arg(&program).arg(&source);
    build
        .env("GO111MODULE", "off")
        .env("CGO_ENABLED", "0")
        .env("GOCACHE", directory.join("cache"));
    finish(&mut build, Duration::from_secs(300)).succeeded();
    let mut list = Command::new(program);
    let text = finish(list.args(paths), Duration::from_secs(60)).success();
    let parts = text.stdout.split("# ").skip(1);
    parts
        .map(|part| part.lines().skip(1).map(str::to_owned).collect())
        .collect()
}

/// The names that bsdtar sees.
pub(crate) fn bsd_names(path: &Path) -> Vec<String> {
    let mut tar = Command::new("bsdtar");
    let listed = finish(tar.arg("-Ptf").arg(path), Duration::from_secs(60));
    let names = listed.stdout.lines();
    names.map(plain).collect()
}

/// Slashes after slashes, and at the end, lead nowhere: some readers show them.
pub(crate) fn plain(name: &str) -> String {
    let mut name = name.trim_end_matches('/').to_owned();
    while name.contains("//") {
        name = name.replace("//", "/");
    }
    name
}
