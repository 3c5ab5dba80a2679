package main

import (
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// foreignBusybox puts a static busybox for arm64, from Debian's packages, into a
// file: foreign FILE. It is fetched once a machine, by apt with a state of its own:
// the machine's list of architectures stays as it is.
func foreignBusybox(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: foreign FILE")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = "/var/cache"
	}
	kept := filepath.Join(cache, "builder-tests", "busybox-arm64")
	if _, err := os.Stat(kept); err != nil {
		ts.Check(os.MkdirAll(filepath.Dir(kept), 0o755))
		dir, err := os.MkdirTemp("", "foreign-")
		ts.Check(err)
		defer os.RemoveAll(dir)
		script := `cd "$1" && mkdir -p state/lists/partial cache/archives/partial
apt() { apt-get -qq -o Dir::State="$1" -o Dir::State::status=/dev/null -o Dir::Cache="$2" -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User=root "$3" $4; }
apt "$1/state" "$1/cache" update && apt "$1/state" "$1/cache" download busybox-static
dpkg-deb --fsys-tarfile busybox-static_*_arm64.deb | tar -xO ./bin/busybox >"$2.new" && chmod 755 "$2.new" && mv "$2.new" "$2"`
		if out, err := exec.Command("sh", "-ec", script, "sh", dir, kept).CombinedOutput(); err != nil {
			ts.Fatalf("fetch busybox for arm64: %v\n%s", err, out)
		}
	}
	data, err := os.ReadFile(kept)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), data, 0o755))
}
