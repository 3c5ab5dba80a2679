package result

import (
	"encoding/json"
	"strings"
	"testing"
)

func sample() *Build {
	text := "hello\nworld\n"
	return &Build{Images: []Image{{
		MediaType: "m", ConfigType: "c", Platform: "linux/amd64",
		Config: json.RawMessage(`{"created":"now","config":{"Env":["A=b"],"Cmd":null},` +
			`"rootfs":{"type":"layers","diff_ids":["x"]},"history":[{"created":"now","created_by":"RUN x"}]}`),
		Layers: []Layer{{MediaType: "l", Paths: []string{"/a", "/b/"}}},
		Tree: []Entry{
			{Path: "/a", Type: "file", Mode: 0o644, Size: 12, Digest: "d1", Text: &text, Twin: "/a"},
			{Path: "/b", Type: "dir", Mode: 0o755, Xattrs: map[string]string{"user.x": "y"}},
		},
	}}}
}

func TestTimesAndDiffIDsAreNoDifference(t *testing.T) {
	ours := sample()
	ours.Images[0].Config = json.RawMessage(`{"created":"then","config":{"Env":["A=b"]},` +
		`"rootfs":{"type":"layers","diff_ids":["y"]},"history":[{"created":"then","created_by":"RUN x"}]}`)
	if got := Diff(sample(), ours); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

func TestResultsSurviveJSON(t *testing.T) {
	data, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	var back Build
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	if got := Diff(&back, sample()); len(got) > 0 {
		t.Errorf("got %q", got)
	}
}

func TestDifferencesAreFound(t *testing.T) {
	for want, change := range map[string]func(*Image){
		`config.config.Env: oracle ["A=b"], ours ["A=c"]`: func(i *Image) {
			i.Config = json.RawMessage(strings.Replace(string(i.Config), "A=b", "A=c", 1))
		},
		`config.config.Cmd: oracle nothing, ours []`: func(i *Image) {
			i.Config = json.RawMessage(strings.Replace(string(i.Config), "null", "[]", 1))
		},
		`history[0].created_by: oracle "RUN x", ours "RUN y"`: func(i *Image) {
			i.Config = json.RawMessage(strings.Replace(string(i.Config), "RUN x", "RUN y", 1))
		},
		"layer 0 lacks /b/":                                func(i *Image) { i.Layers[0].Paths = []string{"/a"} },
		"layer 0 has too much: /c":                         func(i *Image) { i.Layers[0].Paths = []string{"/a", "/b/", "/c"} },
		`layer 0 media type: oracle "l", ours "z"`:         func(i *Image) { i.Layers[0].MediaType = "z" },
		"layers: oracle has 1, ours 0":                     func(i *Image) { i.Layers = nil },
		"tree lacks /b":                                    func(i *Image) { i.Tree = i.Tree[:1] },
		"/b: mode: oracle 0755, ours 1755":                 func(i *Image) { i.Tree[1].Mode = 0o1755 },
		"/b: owner: oracle 0:0, ours 0:7":                  func(i *Image) { i.Tree[1].GID = 7 },
		`/b: xattrs: oracle {"user.x":"y"}, ours null`:     func(i *Image) { i.Tree[1].Xattrs = nil },
		`/a: hard link group: oracle "/a", ours ""`:        func(i *Image) { i.Tree[0].Twin = "" },
		"/a: content: oracle 12 bytes d1, ours 9 bytes d2": func(i *Image) { i.Tree[0].Text, i.Tree[0].Size, i.Tree[0].Digest = nil, 9, "d2" },
		"fault: layer 0: wrong":                            func(i *Image) { i.Faults = []string{"layer 0: wrong"} },
	} {
		ours := sample()
		change(&ours.Images[0])
		if got := strings.Join(Diff(sample(), ours), "; "); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

func TestContentOfTextsIsShown(t *testing.T) {
	ours := sample()
	text := "hello\nmars\n"
	ours.Images[0].Tree[0].Text, ours.Images[0].Tree[0].Digest = &text, "d2"
	got := strings.Join(Diff(sample(), ours), "\n")
	if !strings.Contains(got, `- "world"`) || !strings.Contains(got, `+ "mars"`) || strings.Contains(got, "hello") {
		t.Errorf("got %s", got)
	}
}

func TestRefusals(t *testing.T) {
	refused := &Build{Refused: true, Message: "no\nbecause"}
	if got := Diff(refused, &Build{Refused: true, Message: "other"}); got != nil {
		t.Errorf("both refuse: %q", got)
	}
	for _, got := range [][]string{Diff(refused, sample()), Diff(sample(), refused)} {
		if len(got) != 1 || !strings.HasSuffix(got[0], ": no") {
			t.Errorf("one refuses: %q", got)
		}
	}
}
