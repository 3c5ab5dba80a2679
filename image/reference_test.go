package image_test

import (
	"strings"
	"testing"

	"builder/image"
)

const someDigest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParseReference(t *testing.T) {
	for _, c := range []struct{ in, full, familiar string }{
		{"ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"},
		{"ubuntu:22.04", "docker.io/library/ubuntu:22.04", "ubuntu:22.04"},
		{"docker.io/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"},
		{"index.docker.io/library/ubuntu", "docker.io/library/ubuntu:latest", "ubuntu:latest"},
		{"jpetazzo/clock", "docker.io/jpetazzo/clock:latest", "jpetazzo/clock:latest"},
		{"registry.example.com:5000/my-private/image", "registry.example.com:5000/my-private/image:latest", "registry.example.com:5000/my-private/image:latest"},
		{"localhost:5000/wordpress", "localhost:5000/wordpress:latest", "localhost:5000/wordpress:latest"},
		{"localhost/wordpress:1", "localhost/wordpress:1", "localhost/wordpress:1"},
		{"localhost", "docker.io/library/localhost:latest", "localhost:latest"},
		{"docker.io/localhost/x", "docker.io/localhost/x:latest", "docker.io/localhost/x:latest"},
		{"docker.io/a.b/c", "docker.io/a.b/c:latest", "docker.io/a.b/c:latest"},
		{"docker.io/library/sha256:1", "docker.io/library/sha256:1", "docker.io/library/sha256:1"},
		{"[::1]:5000/a", "[::1]:5000/a:latest", "[::1]:5000/a:latest"},
		{"a@" + someDigest, "docker.io/library/a@" + someDigest, "a@" + someDigest},
		{"a:1@" + someDigest, "docker.io/library/a:1@" + someDigest, "a:1@" + someDigest},
		{"docker.io/library/" + someDigest[7:], "docker.io/library/" + someDigest[7:] + ":latest", "docker.io/library/" + someDigest[7:] + ":latest"},
	} {
		r, err := image.ParseReference(c.in)
		if err != nil {
			t.Errorf("%s: %v", c.in, err)
			continue
		}
		if r.String() != c.full || r.Familiar() != c.familiar {
			t.Errorf("%s: got %s, %s; want %s, %s", c.in, r, r.Familiar(), c.full, c.familiar)
		}
	}
}

func TestWrongReferencesSayWhatIsWrong(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "empty"},
		{" a", "white space"},
		{"https://example.com/a", `did you mean "example.com/a"?`},
		{someDigest, "image ID"},
		{someDigest[7:], "image ID"},
		{"Ubuntu:22.04", `did you mean "ubuntu:22.04"?`},
		{"example.com/My/App", `did you mean "example.com/my/app"?`},
		{"a:", "tag after ':' is empty"},
		{"a:-x", `tag "-x"`},
		{"a:b c", `tag "b c"`},
		{"a:" + strings.Repeat("x", 129), "128"},
		{"a@sha256:abc", "3 digits, not 64"},
		{"a@abc", "not of the form"},
		{"a@sha512:" + strings.Repeat("0", 128), "only sha256"},
		{"a@sha256:" + strings.Repeat("Z", 64), "digits are"},
		{"a//b", "empty part"},
		{"a/", "empty part"},
		{"a..b", `"a..b"`},
		{"-a", `"-a"`},
		{":x", "no name"},
		{"exa mple.com/a", "no registry"},
		{strings.Repeat("a", 300), "longer than 255"},
		{"a:b:c", `two tags, "b" and "c"`},
	} {
		r, err := image.ParseReference(c.in)
		if err == nil {
			t.Errorf("%q was taken for %s", c.in, r)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: got %q, want something with %q", c.in, err, c.want)
		}
	}
}

func TestReferenceWithTagAndDigest(t *testing.T) {
	r, err := image.ParseReference("example.com/a:1")
	if err != nil {
		t.Fatal(err)
	}
	pinned, err := r.WithDigest(someDigest)
	if err != nil || pinned.String() != "example.com/a:1@"+someDigest {
		t.Errorf("got %s, %v", pinned, err)
	}
	if other, err := pinned.WithTag("2"); err != nil || other.String() != "example.com/a:2" {
		t.Errorf("got %s, %v", other, err)
	}
	if _, err := r.WithTag("a b"); err == nil {
		t.Error("a tag with a space was taken")
	}
	if _, err := r.WithDigest("sha256:1"); err == nil {
		t.Error("a short digest was taken")
	}
}

func FuzzParseReference(f *testing.F) {
	for _, s := range []string{"ubuntu", "a/b:c", "localhost:5000/a@" + someDigest, "DOCKER.io/x", "[::1]/a", "a.b/c", "docker.io/localhost/x:y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := image.ParseReference(s)
		if err != nil {
			return
		}
		for _, form := range []string{r.String(), r.Familiar()} {
			if again, err := image.ParseReference(form); err != nil || again != r {
				t.Errorf("%q is %s, whose form %q is %s, %v", s, r, form, again, err)
			}
		}
	})
}
