package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// makeBusybox builds the image busybox:1 in the script's store: a shell and the
// usual tools, root and two users.
func makeBusybox(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: busybox")
	}
	dir := ts.MkAbs(".busybox")
	ts.Check(os.MkdirAll(filepath.Join(dir, "etc"), 0o755))
	data, err := os.ReadFile("/bin/busybox")
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Join(dir, "busybox"), data, 0o755))
	for name, text := range map[string]string{
		"etc/passwd": "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n",
		"etc/group":  "root:x:0:\napp:x:1000:\nextra:x:2000:app\n",
		"Dockerfile": "FROM scratch\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\", \"--install\", \"-s\", \"/bin\"]\nCOPY etc /etc\nRUN mkdir -p -m 1777 /tmp && mkdir -p /root /home/app && chown app:app /home/app\nCMD [\"sh\"]\n",
	} {
		ts.Check(os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	ts.Check(ts.Exec("builder", "build", "-q", "-t", "busybox:1", dir))
}

// setMtime gives files a time: mtime 2020-01-02T03:04:05Z FILE...
func setMtime(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: mtime TIME FILE...")
	}
	for _, f := range args[1:] {
		out, err := exec.Command("touch", "-h", "-d", args[0], ts.MkAbs(f)).CombinedOutput()
		if err != nil {
			ts.Fatalf("touch: %v: %s", err, out)
		}
	}
}

// sameFiles compares two files without printing them.
func sameFiles(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) != 2 {
		ts.Fatalf("usage: same FILE FILE")
	}
	same := ts.ReadFile(args[0]) == ts.ReadFile(args[1])
	if same == neg {
		ts.Fatalf("%s and %s: same is %v", args[0], args[1], same)
	}
}

// makeTarball writes a tar with whatever entries a stranger might put into one:
// tarball FILE LIST, where LIST has a line for each entry:
//
//	dir NAME | file NAME TEXT | symlink NAME TARGET | link NAME TARGET | fifo NAME | bin NAME HOSTFILE
func makeTarball(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: tarball FILE LIST")
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for line := range strings.Lines(ts.ReadFile(args[1])) {
		words := strings.SplitN(strings.TrimSpace(line), " ", 3)
		if len(words) < 2 {
			continue
		}
		words = append(words, "")
		h := &tar.Header{Name: words[1], Mode: 0o644}
		var data []byte
		switch words[0] {
		case "dir":
			h.Typeflag, h.Mode = tar.TypeDir, 0o755
		case "file":
			h.Typeflag, data = tar.TypeReg, []byte(words[2]+"\n")
		case "bin":
			h.Typeflag, h.Mode = tar.TypeReg, 0o755
			var err error
			data, err = os.ReadFile(words[2])
			ts.Check(err)
		case "symlink":
			h.Typeflag, h.Linkname = tar.TypeSymlink, words[2]
		case "link":
			h.Typeflag, h.Linkname = tar.TypeLink, words[2]
		case "fifo":
			h.Typeflag = tar.TypeFifo
		default:
			ts.Fatalf("tarball: unknown entry %q", line)
		}
		h.Size = int64(len(data))
		ts.Check(w.WriteHeader(h))
		_, err := w.Write(data)
		ts.Check(err)
	}
	ts.Check(w.Close())
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), b.Bytes(), 0o644))
}

// makeLayout writes an OCI layout whose layers are the tars as they are:
// layout DIR OS/ARCH TAR...
func makeLayout(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: layout DIR OS/ARCH TAR...")
	}
	dir := ts.MkAbs(args[0])
	ts.Check(os.MkdirAll(filepath.Join(dir, "blobs/sha256"), 0o755))
	type object = map[string]any
	put := func(mediaType string, data []byte) object {
		sum := fmt.Sprintf("%x", sha256.Sum256(data))
		ts.Check(os.WriteFile(filepath.Join(dir, "blobs/sha256", sum), data, 0o644))
		return object{"mediaType": mediaType, "digest": "sha256:" + sum, "size": len(data)}
	}
	encode := func(v any) []byte {
		data, err := json.Marshal(v)
		ts.Check(err)
		return data
	}
	const media = "application/vnd.oci.image."
	layers, ids := []object{}, []string{}
	for _, file := range args[2:] {
		data := []byte(ts.ReadFile(file))
		layers = append(layers, put(media+"layer.v1.tar", data))
		ids = append(ids, fmt.Sprintf("sha256:%x", sha256.Sum256(data)))
	}
	system, machine, _ := strings.Cut(args[1], "/")
	config := put(media+"config.v1+json", encode(object{
		"os": system, "architecture": machine, "config": object{},
		"rootfs": object{"type": "layers", "diff_ids": ids},
	}))
	manifest := put(media+"manifest.v1+json", encode(object{"schemaVersion": 2, "mediaType": media + "manifest.v1+json", "config": config, "layers": layers}))
	ts.Check(os.WriteFile(filepath.Join(dir, "index.json"), encode(object{"schemaVersion": 2, "manifests": []object{manifest}}), 0o644))
	ts.Check(os.WriteFile(filepath.Join(dir, "oci-layout"), []byte(`{"imageLayoutVersion":"1.0.0"}`), 0o644))
}
