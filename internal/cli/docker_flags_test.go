package cli

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// dockerFlags are the flags of docker 28.2 for images, volumes, registries and the
// whole, each with its short form in front where it has one.
var dockerFlags = map[string]string{
	"builder prune":     "a/all filter f/force keep-storage",
	"commit":            "a/author c/change m/message p/pause",
	"history":           "format H/human no-trunc platform q/quiet",
	"image history":     "format H/human no-trunc platform q/quiet",
	"image import":      "c/change m/message platform",
	"image inspect":     "f/format platform",
	"image load":        "i/input platform q/quiet",
	"image ls":          "a/all digests f/filter format no-trunc q/quiet tree",
	"image prune":       "a/all filter f/force",
	"image pull":        "a/all-tags disable-content-trust platform q/quiet",
	"image push":        "a/all-tags disable-content-trust platform q/quiet",
	"image rm":          "f/force no-prune platform",
	"image save":        "o/output platform",
	"images":            "a/all digests f/filter format no-trunc q/quiet tree",
	"import":            "c/change m/message platform",
	"info":              "f/format",
	"inspect":           "f/format s/size type",
	"load":              "i/input platform q/quiet",
	"login":             "p/password password-stdin u/username",
	"manifest annotate": "arch os os-features os-version variant",
	"manifest create":   "a/amend insecure",
	"manifest inspect":  "insecure v/verbose",
	"manifest push":     "insecure p/purge",
	"pull":              "a/all-tags disable-content-trust platform q/quiet",
	"push":              "a/all-tags disable-content-trust platform q/quiet",
	"rmi":               "f/force no-prune platform",
	"save":              "o/output platform",
	"search":            "f/filter format limit no-trunc",
	"system df":         "format v/verbose",
	"system info":       "f/format",
	"system prune":      "a/all filter f/force volumes",
	"version":           "f/format",
	"volume create":     "availability d/driver group label limit-bytes o/opt required-bytes scope secret sharing topology-preferred topology-required type",
	"volume inspect":    "f/format",
	"volume ls":         "cluster f/filter format q/quiet",
	"volume prune":      "a/all filter f/force",
	"volume rm":         "f/force",
}

// clusterFlags are those of docker that are about volumes of a cluster: they are
// refused as unknown.
var clusterFlags = []string{
	"availability", "cluster", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing",
	"topology-preferred", "topology-required",
}

// TestFlagsAreDockers looks for each flag of docker's under the same name and the
// same letter.
func TestFlagsAreDockers(t *testing.T) {
	root := newRoot(&streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	for command, flags := range dockerFlags {
		cmd, rest, err := root.Find(strings.Fields(command))
		if err != nil || len(rest) > 0 || cmd == root {
			t.Errorf("there is no command %q: %v", command, err)
			continue
		}
		for word := range strings.FieldsSeq(flags) {
			short, name, ok := strings.Cut(word, "/")
			if !ok {
				short, name = "", word
			}
			if strings.HasPrefix(command, "volume ") && (slices.Contains(clusterFlags, name) || command == "volume create" && name == "type") {
				continue
			}
			found := cmd.Flag(name)
			if found == nil {
				t.Errorf("%s has no --%s", command, name)
			} else if short != "" && found.Shorthand != short {
				t.Errorf("%s --%s: its letter is %q, with docker %q", command, name, found.Shorthand, short)
			}
		}
	}
}
