package planner_test

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"

	"builder/image"
	"builder/internal/diag"
	"builder/parser"
	"builder/planner"
)

func digestOf(text string) image.Digest { return digest.FromString(text) }

// base is an image of one layer.
func base() image.Config {
	return image.Config{
		OS: "linux", Architecture: "amd64",
		RootFS:  image.RootFS{Type: "layers", DiffIDs: []image.Digest{digestOf("layer")}},
		History: []image.History{{CreatedBy: "base"}},
	}
}

// plan plans a recipe; every image is [base], with the triggers given.
func plan(t *testing.T, text string, o planner.Options, triggers ...string) (*planner.Graph, error) {
	t.Helper()
	recipe, err := parser.Parse(&diag.File{Name: "Dockerfile", Text: text})
	if err != nil {
		t.Fatal(err)
	}
	config := base()
	config.Config.OnBuild = triggers
	pins := planner.Pins{}
	for range 10 {
		graph, wanted, err := planner.Plan(recipe, o, pins)
		if err != nil || len(wanted) == 0 {
			return graph, err
		}
		for _, w := range wanted {
			if _, ok := pins[w.Name]; ok {
				t.Fatalf("%s is wanted again", w.Reference)
			}
			pins[w.Name] = planner.Pin{Digest: digestOf(w.Reference.String()), Config: config}
		}
	}
	t.Fatal("planning has no end")
	return nil, nil
}

func newGraph(t *testing.T, text string, o planner.Options, triggers ...string) *planner.Graph {
	t.Helper()
	g, err := plan(t, text, o, triggers...)
	if err != nil {
		t.Fatal(diag.Text(err))
	}
	check(t, g)
	return g
}

// check holds what a graph promises.
func check(t *testing.T, g *planner.Graph) {
	t.Helper()
	ids := map[planner.ID]bool{}
	for i, s := range g.Steps {
		if ids[s.ID] {
			t.Errorf("step %d is there twice", i)
		}
		ids[s.ID] = true
		for _, in := range s.Inputs {
			if in != planner.None && int(in) >= i {
				t.Errorf("step %d comes before its input %d", i, in)
			}
		}
	}
	layers := 0
	for at := g.Result.Root; at != planner.None; {
		s := g.Steps[at]
		if op, ok := s.Op.(planner.Image); ok {
			layers += len(op.DiffIDs)
			break
		}
		layers++
		at = s.Inputs[0]
	}
	entries := 0
	for _, h := range g.Result.Config.History {
		if !h.EmptyLayer {
			entries++
		}
	}
	if entries != layers {
		t.Errorf("the history has entries for %d layers, there are %d", entries, layers)
	}
}

func TestEqualStepsAreOne(t *testing.T) {
	g := newGraph(t, "FROM base AS a\nRUN x\nFROM base AS b\nRUN x\nFROM scratch\nCOPY --from=a /1 /\nCOPY --from=b /2 /\n", planner.Options{})
	if len(g.Steps) != 4 {
		t.Errorf("got %d steps, want an image, a RUN and two COPY\n%s", len(g.Steps), g)
	}
}

func TestADefinitionIsAllThatAStepIs(t *testing.T) {
	of := func(text string, o planner.Options) planner.ID {
		g := newGraph(t, text, o)
		return g.Steps[g.Result.Root].ID
	}
	same := of("FROM base\nRUN x\n", planner.Options{})
	if got := of("FROM base\nLABEL a=b\nRUN  x\n", planner.Options{NoCache: true}); got != same {
		t.Error("a label or --no-cache changes a definition")
	}
	if got := of("FROM base\nRUN x\n", planner.Options{BuildArgs: map[string]string{"http_proxy": "p"}}); got != same {
		t.Error("a proxy changes a definition")
	}
	seen := map[planner.ID]string{same: "RUN x"}
	for _, c := range []struct {
		text string
		o    planner.Options
	}{
		{"FROM base\nRUN y\n", planner.Options{}},
		{"FROM base\nRUN [\"x\"]\n", planner.Options{}},
		{"FROM other\nRUN x\n", planner.Options{}},
		{"FROM base\nENV A=1\nRUN x\n", planner.Options{}},
		{"FROM base\nARG A=2\nRUN x\n", planner.Options{}},
		{"FROM base\nUSER 1\nRUN x\n", planner.Options{}},
		{"FROM base\nWORKDIR /d\nRUN x\n", planner.Options{}},
		{"FROM base\nSHELL [\"s\"]\nRUN x\n", planner.Options{}},
		{"FROM base\nRUN <<E\n#!x\nE\n", planner.Options{}},
		{"FROM base\nRUN <<E\n#!y\nE\n", planner.Options{}},
		{"FROM base\nRUN x\n", planner.Options{Network: planner.NetworkNone}},
		{"FROM base\nRUN x\n", planner.Options{Hostname: "h"}},
		{"FROM base\nRUN x\n", planner.Options{ShmSize: 1}},
		{"FROM base\nRUN x\n", planner.Options{Hosts: []planner.Host{{Name: "a", IP: "b"}}}},
		{"FROM base\nRUN x\n", planner.Options{Ulimits: []planner.Ulimit{{Name: "core"}}}},
		{"FROM base\nRUN x\n", planner.Options{Platform: image.Platform{OS: "linux", Architecture: "arm64"}}},
		{"FROM base\nCOPY a /b\n", planner.Options{}},
		{"FROM base\nCOPY a /b/\n", planner.Options{}},
		{"FROM base\nCOPY a b /c/\n", planner.Options{}},
		{"FROM base\nCOPY --chown=1 a /b\n", planner.Options{}},
		{"FROM base\nCOPY --chmod=1 a /b\n", planner.Options{}},
		{"FROM base\nCOPY --from=base a /b\n", planner.Options{}},
		{"FROM base\nCOPY <<a /b\nE\na\n", planner.Options{}},
		{"FROM base\nCOPY <<a /b\nF\na\n", planner.Options{}},
		{"FROM base\nADD a /b\n", planner.Options{}},
		{"FROM base\nCOPY a /b\n", planner.Options{Ignore: []string{"x"}}},
		{"FROM base\nWORKDIR /b\n", planner.Options{}},
		{"FROM base\nUSER u\nWORKDIR /b\n", planner.Options{}},
	} {
		id := of(c.text, c.o)
		if other, ok := seen[id]; ok {
			t.Errorf("%q %+v is defined as %q", c.text, c.o, other)
		}
		seen[id] = c.text
	}
}

func TestOnlyWhatTheTargetNeedsIsWanted(t *testing.T) {
	const text = "FROM a AS one\nFROM b AS two\nFROM c AS three\nCOPY --from=one / /\nFROM d\n"
	recipe, err := parser.Parse(&diag.File{Name: "Dockerfile", Text: text})
	if err != nil {
		t.Fatal(err)
	}
	_, wanted, err := planner.Plan(recipe, planner.Options{Target: "Three"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, w := range wanted {
		names = append(names, w.Reference.Familiar()+" "+w.Span.String())
	}
	if want := []string{"a:latest Dockerfile:1:6", "c:latest Dockerfile:3:6"}; !slices.Equal(names, want) {
		t.Errorf("got %q, want %q", names, want)
	}
}

func TestPlanningDoesNotChangeWhatItIsGiven(t *testing.T) {
	const text = "ARG SOURCE_DATE_EPOCH=07\nFROM base\nENV A=1\nENV PATH=/x\nLABEL a=b\nEXPOSE 1\nVOLUME /v\nFROM base\nENV A=2\nRUN x\n"
	recipe, err := parser.Parse(&diag.File{Name: "Dockerfile", Text: text})
	if err != nil {
		t.Fatal(err)
	}
	config := base()
	config.Config.Env = []string{"A=0", "PATH=/y"}
	config.Config.Labels = map[string]string{"x": "y"}
	ref, err := image.ParseReference("base")
	if err != nil {
		t.Fatal(err)
	}
	o := planner.Options{BuildPlatform: image.Platform{OS: "linux", Architecture: "amd64"}, BuildArgs: map[string]string{"SOURCE_DATE_EPOCH": "08"}, Labels: map[string]string{"l": "m"}}
	pins := planner.Pins{{Reference: ref, Platform: "linux/amd64"}: {Digest: digestOf("b"), Config: config}}
	var graphs []*planner.Graph
	for range 2 {
		g, wanted, err := planner.Plan(recipe, o, pins)
		if err != nil || len(wanted) > 0 {
			t.Fatal(wanted, err)
		}
		graphs = append(graphs, g)
	}
	if !reflect.DeepEqual(graphs[0], graphs[1]) {
		t.Error("two plannings of the same give two graphs")
	}
	if got := config.Config.Env; !slices.Equal(got, []string{"A=0", "PATH=/y"}) || len(config.Config.Labels) != 1 {
		t.Errorf("the pin has changed: %v", config.Config)
	}
	if o.BuildArgs["SOURCE_DATE_EPOCH"] != "08" {
		t.Error("the build arguments have changed")
	}
	if e := graphs[0].Result.Epoch; e == nil || e.Unix() != 8 {
		t.Errorf("epoch is %v", e)
	}
}

func TestNoCacheIsForStepsOfTheStagesNamed(t *testing.T) {
	g := newGraph(t, "FROM base AS a\nRUN x\nFROM a AS b\nRUN y\nWORKDIR /d\nCOPY f /\n", planner.Options{NoCacheFilter: []string{"B"}})
	for _, s := range g.Steps {
		_, exec := s.Op.(planner.Exec)
		_, copied := s.Op.(planner.Copy)
		if want := s.Stage == "b" && (exec || copied); s.NoCache != want {
			t.Errorf("%s: NoCache is %v", s.Name, s.NoCache)
		}
	}
}

func TestTriggersRunOnceBeforeTheStageThatBeginsWithTheImage(t *testing.T) {
	g := newGraph(t, "FROM base AS a\nRUN own\nFROM a\nRUN last\n", planner.Options{}, "ENV T=1", "RUN trigger $T", "COPY --from=tools /t /t")
	var names []string
	for _, s := range g.Steps {
		names = append(names, s.Name)
	}
	text := strings.Join(names, "\n")
	if strings.Count(text, "ONBUILD RUN trigger") != 1 || strings.Index(text, "trigger") > strings.Index(text, "own") {
		t.Errorf("got\n%s", text)
	}
	if len(g.Result.Config.Config.OnBuild) != 0 {
		t.Errorf("the triggers are still there: %q", g.Result.Config.Config.OnBuild)
	}
}

func TestWhatIsRefused(t *testing.T) {
	for _, c := range []struct{ text, want, hint string }{
		{"FROM $NOSUCH", `Dockerfile:1:6: base name ($NOSUCH) should not be blank`, "ARG"},
		{"FROM base:$A$", `Dockerfile:1:6: image name "base:$"`, ""},
		{"FROM --platform=$X base", "Dockerfile:1:17: empty platform value from expression $X", "BUILDPLATFORM"},
		{"FROM --platform=a/b/c/d/e base", "Dockerfile:1:17: failed to parse platform", "os/architecture"},
		{"FROM base AS a\nCOPY --from=1 a b\n", "Dockerfile:2:13: invalid stage index 1", "0"},
		{"FROM base AS a\nCOPY --from=$A a b\n", "Dockerfile:2:13: variable expansion is not supported for --from", "FROM"},
		{"FROM base AS a\nCOPY --from=b / /\nFROM base AS b\nCOPY --from=a / /\n", "circular dependency", ""},
		{"FROM base AS a\nCOPY --from=b / /\nFROM a AS b\n", `Dockerfile:2:13: cannot copy from stage "b", it needs to be defined before current stage "a"`, ""},
		{"FROM base\nCOPY http://a/b /\n", "Dockerfile:2:6: source can't be a URL for COPY", "ADD"},
		{"FROM base\nCOPY git@a.b:c/d /\n", "Dockerfile:2:6: source can't be a git ref for COPY", "ADD"},
		{"FROM base\nADD https://a/b/.. /\n", "Dockerfile:2:5: the URL's last component", ""},
		{"FROM base\nADD --checksum=sha256:00 https://a/b /\n", "Dockerfile:2:16: invalid checksum digest format", "sha512"},
		{"FROM base\nADD --checksum=sha256:00 a /\n", "Dockerfile:2:16: checksum requires HTTP(S) or Git sources", ""},
		{"FROM base\nADD --checksum=sha256:00 https://a/b https://a/c /\n", "checksum can't be specified for multiple sources", ""},
		{"FROM base\nADD --checksum=xyz https://a/b.git /\n", "Dockerfile:2:16: invalid checksum xyz for Git URL", ""},
		{"FROM base\nADD --keep-git-dir=false https://a/b.git?keep-git-dir /\n", "inconsistent keep-git-dir configuration", ""},
		{"FROM base\nADD https://a/b.git?tag=1&branch=2 /\n", "branch conflicts with tag", ""},
		{"FROM base\nADD https://a/b.git?ref=1&branch=2 /\n", "ref conflicts", ""},
		{"FROM base\nADD https://a/b.git?mtime=now /\n", "invalid mtime value", ""},
		{"FROM base\nADD https://a/b.git?subdir= /\n", "has no value", ""},
		{"FROM base\nADD ssh://-oProxyCommand=x/b.git /\n", "git URL has a host", ""},
		{"FROM base\nCOPY --chmod=0o7 a /b\n", "Dockerfile:2:14: invalid chmod parameter: '0o7'", ""},
		{"FROM base\nCOPY --chmod=u a /b\n", "invalid chmod parameter", ""},
		{"FROM base\nRUN []\n", "Dockerfile:2:1: RUN has no command", ""},
		{"FROM base\nEXPOSE 1-x\n", "Dockerfile:2:8: invalid containerPort: 1-x", "port"},
		{"FROM base\nEXPOSE 70000\n", "invalid containerPort", ""},
		{"FROM base\nEXPOSE 1/icmp\n", "invalid proto", ""},
		{"FROM base\nEXPOSE h:1:1\n", "invalid IP address", ""},
		{"FROM base\nVOLUME $X\n", "Dockerfile:2:8: VOLUME specified can not be an empty string", ""},
		{"FROM base\nSTOPSIGNAL SIGRTMIN+16\n", "invalid signal", "SIGTERM"},
		{"FROM base\nENV A=${B:?\"no b\"}\n", "Dockerfile:2:7: failed to process", ""},
		{"FROM base\nCOPY <<E /\n${A:?x}\nE\n", "Dockerfile:2:1: heredoc: failed to process", ""},
	} {
		_, err := plan(t, c.text, planner.Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %v, want %q", c.text, err, c.want)
			continue
		}
		if text := diag.Text(err); !strings.Contains(text, c.hint) {
			t.Errorf("%q: the hint is missing in\n%s", c.text, text)
		}
	}
	for _, text := range []string{"FROM base\nCOPY ./http://a github.com/a/b ftp://x a@b /c/\nADD HTTP://x /\nCOPY --chmod=u+x,go=rX a /\nSTOPSIGNAL rtmax-14\nEXPOSE [::1]:5-6:7/UDP 9-8\n"} {
		if _, err := plan(t, text, planner.Options{}); err == nil || !strings.Contains(err.Error(), "9-8") {
			t.Errorf("got %v, want all but the last port to be accepted", err)
		}
	}
}

func TestATargetThatIsNotThereIsNamed(t *testing.T) {
	_, err := plan(t, "FROM base AS build\n", planner.Options{Target: "biuld"})
	if err == nil || !strings.Contains(diag.Text(err), `target stage "biuld" could not be found`) || !strings.Contains(diag.Text(err), `did you mean "build"?`) {
		t.Errorf("got %v", err)
	}
}

func TestVariablesDoNotGrowWithoutBound(t *testing.T) {
	_, err := plan(t, "FROM base\nENV A=aaaaaaaa\n"+strings.Repeat("ENV A=$A$A\n", 64), planner.Options{})
	if err == nil || !strings.Contains(err.Error(), "longer than 4 MiB") {
		t.Errorf("got %v", err)
	}
}

// FuzzPlan holds that no recipe makes planning panic or go on for ever, and that
// graphs keep their promises.
func FuzzPlan(f *testing.F) {
	for _, text := range []string{
		"ARG A=b\nFROM $A AS x\nWORKDIR a\nRUN <<E\necho\nE\nFROM x\nCOPY --from=0 a b\nENTRYPOINT a\n",
		"FROM scratch\nONBUILD COPY --from=x a b\nENV a=$b\nEXPOSE 1-2\nADD <<a b /c/\nx\na\n",
		"FROM a\nARG A\nARG B=${A:-x}\nENV C=$B\nLABEL a=${C%x}\nUSER $C\nRUN echo $C\nVOLUME a\nHEALTHCHECK NONE\n",
	} {
		f.Add(text, "RUN x")
	}
	f.Fuzz(func(t *testing.T, text, trigger string) {
		recipe, err := parser.Parse(&diag.File{Name: "fuzz", Text: text})
		if err != nil {
			return
		}
		config := base()
		config.Config.OnBuild = []string{trigger}
		pins := planner.Pins{}
		for range 10 {
			graph, wanted, err := planner.Plan(recipe, planner.Options{}, pins)
			if err != nil {
				_ = diag.Text(err)
				return
			}
			if len(wanted) == 0 {
				check(t, graph)
				_ = graph.String()
				return
			}
			for _, w := range wanted {
				pins[w.Name] = planner.Pin{Digest: digestOf(w.Reference.String()), Config: config}
			}
		}
		t.Error("planning has no end")
	})
}
