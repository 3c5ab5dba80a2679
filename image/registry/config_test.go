package registry

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig([]byte(`
[registry."docker.io"]
  mirrors = ["127.0.0.1:5000", "harbor.example.com/proxy"]
[registry."127.0.0.1:5000"]
  http = true
  insecure = true
  ca = ["/etc/ca.pem"]
`))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Registry["docker.io"].Mirrors; len(got) != 2 || got[1] != "harbor.example.com/proxy" {
		t.Errorf("mirrors: %v", got)
	}
	if s := c.Registry["127.0.0.1:5000"]; !*s.HTTP || !*s.Insecure || s.CA[0] != "/etc/ca.pem" {
		t.Errorf("settings: %+v", s)
	}
}

func TestWrongConfigsSayWhere(t *testing.T) {
	for text, want := range map[string]string{
		"[registry.\"docker.io\"]\nmirror = [\"a\"]": `2:1: unknown key "registry.docker.io.mirror"`,
		"[worker]": "unknown key \"worker\"",
		"[registry.\"docker.io\"]\nhttp = \"yes\"": "2:",
		"[registry":                             "1:",
		"[registry.\"https://x\"]\nhttp = true": `registry "https://x"`,
		"[registry.\"docker.io\"]\nmirrors = [\"https://a.b\"]": "without a scheme",
		"[registry.\"docker.io\"]\nmirrors = [\"\"]":            "mirror",
	} {
		if _, err := ParseConfig([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want something with %q", text, err, want)
		}
	}
}

func TestReadConfigTakesTheFirstFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, host string) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte("[registry.\""+host+"\"]\nhttp = true\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	env := map[string]string{"XDG_CONFIG_HOME": dir}
	getenv := func(name string) string { return env[name] }
	write("builder/builder.toml", "user.example.com")
	if c, err := ReadConfig(getenv); err != nil || c.Registry["user.example.com"].HTTP == nil {
		t.Errorf("got %v, %v", c, err)
	}
	env["BUILDER_CONFIG"] = write("own.toml", "own.example.com")
	if c, err := ReadConfig(getenv); err != nil || c.Registry["own.example.com"].HTTP == nil {
		t.Errorf("got %v, %v", c, err)
	}
	env["BUILDER_CONFIG"] = filepath.Join(dir, "missing")
	if _, err := ReadConfig(getenv); err == nil {
		t.Error("a file that was named and is missing was left out")
	}
}

func TestIsLocal(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "localhost:5000": true, "127.0.0.1:5000": true, "127.9.9.9": true, "[::1]:5000": true,
		"localhost.example.com": false, "128.0.0.1": false, "example.com:5000": false, "127.0.0.1.example.com": false,
	} {
		if got := isLocal(host); got != want {
			t.Errorf("%s: %v", host, got)
		}
	}
}
