package sandbox_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"builder/executor/sandbox"
)

const passwd = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001::/home/app:/bin/sh\nother:x:1002:1002::/:/bin/sh\nhomeless:x:1003:1003:::/bin/sh\n"
const group = "root:x:0:\nwheel:x:10:app,root\nstaff:x:50:app\napp:x:1001:\n"

// What a process sees from inside is docker's container.
func TestProcessSees(t *testing.T) {
	b := newBench(t)
	write(t, filepath.Join(b.lower, "etc/passwd"), passwd, 0o644)
	write(t, filepath.Join(b.lower, "etc/group"), group, 0o644)
	for name, test := range map[string]struct {
		change  func(*sandbox.Spec)
		command string
		want    string
	}{
		"root by default":                {nil, "id", "uid=0(root) gid=0(root) groups=0(root),10(wheel)"},
		"a user and his groups":          {user("app"), "id", "uid=1000(app) gid=1001(app) groups=10(wheel),50(staff),1001(app)"},
		"a user with a group":            {user("app:staff"), "id", "uid=1000(app) gid=50(staff) groups=50(staff)"},
		"a number that passwd knows":     {user("1000"), "id", "uid=1000(app) gid=1001(app) groups=10(wheel),50(staff),1001(app)"},
		"two numbers":                    {user("1000:1001"), "id", "uid=1000(app) gid=1001(app) groups=1001(app)"},
		"a number that passwd lacks":     {user("77"), "id", "uid=77 gid=0(root) groups=0(root)"},
		"home of root":                   {nil, "echo $HOME", "/root"},
		"home of a user":                 {user("app"), "echo $HOME", "/home/app"},
		"home of nobody":                 {user("77"), "echo $HOME", "/"},
		"home that is empty":             {user("homeless"), "echo [$HOME] ${HOME-unset}", "[]"},
		"home as it is set":              {env("HOME=/elsewhere"), "echo $HOME", "/elsewhere"},
		"nothing but its environment":    {env("A=1", "HOME=/h"), "env | grep -v -e ^PWD -e ^SHLVL | sort", "A=1\nHOME=/h\nPATH=/bin"},
		"process 1":                      {nil, "echo $$", "1"},
		"the host name":                  {nil, "hostname", "buildkitsandbox"},
		"a host name of its own":         {func(s *sandbox.Spec) { s.Hostname = "box" }, "hostname; head -1 /etc/hosts", "box\n127.0.0.1\tlocalhost box"},
		"the working directory":          {func(s *sandbox.Spec) { s.Dir = "/bin" }, "pwd", "/bin"},
		"a new working directory":        {func(s *sandbox.Spec) { s.Dir = "/srv/a b" }, "pwd; stat -c '%a %u' .", "/srv/a b\n755 0"},
		"the umask":                      {nil, "umask", "0022"},
		"hosts":                          {nil, "cat /etc/hosts", "127.0.0.1\tlocalhost buildkitsandbox\n::1\tlocalhost ip6-localhost ip6-loopback"},
		"hosts that are added":           {func(s *sandbox.Spec) { s.Hosts = []sandbox.Host{{Name: "db", IP: "10.0.0.1"}} }, "tail -1 /etc/hosts", "10.0.0.1\tdb"},
		"docker's capabilities":          {nil, "grep Cap /proc/self/status", capabilities("00000000a80425fb")},
		"none of them as a user":         {user("app"), "grep Cap /proc/self/status", capabilities("0000000000000000")},
		"a filter, new privileges":       {nil, "grep -e NoNew -e Seccomp: /proc/self/status", "NoNewPrivs:\t0\nSeccomp:\t2"},
		"no forbidden system call":       {nil, "unshare -m true 2>&1; mount -t tmpfs x /bin 2>&1", "unshare: unshare(0x20000): Operation not permitted\nmount: permission denied (are you root?)"},
		"a system call for a capability": {nil, "chroot / echo in", "in"},
		"empty standard input":           {nil, "cat; readlink /proc/self/fd/0", "/dev/null"},
		"no descriptors but three":       {nil, "cd /proc/self/fd; echo *", "0 1 2 3"}, // 3 is the shell reading the directory
		"the devices":                    {nil, "cd /dev; echo * | sed 's/^core //'; stat -c '%a %t %T' null zero full random urandom tty", devices},
		"a terminal multiplexer":         {nil, "readlink /dev/ptmx; stat -c %a /dev/pts/ptmx", "pts/ptmx\n666"},
		"shared memory":                  {nil, "df -k /dev/shm | awk 'NR==2{print $2}'; stat -c %a /dev/shm", "65536\n1777"},
		"shared memory of a size":        {func(s *sandbox.Spec) { s.ShmSize = 1 << 20 }, "df -k /dev/shm | awk 'NR==2{print $2}'", "1024"},
		"a read-only sysfs":              {nil, "touch /sys/kernel/x 2>&1", "touch: /sys/kernel/x: Read-only file system"},
		"read-only settings":             {nil, "echo 1 2>&1 > /proc/sys/kernel/panic", "/bin/sh: can't create /proc/sys/kernel/panic: Read-only file system"},
		"masked files":                   {nil, "wc -c < /proc/timer_list; ls /proc/acpi /sys/firmware", "0\n/proc/acpi:\n\n/sys/firmware:"},
		"its own processes":              {nil, "cd /proc; echo [0-9]*", "1"},
		"a resource limit":               {func(s *sandbox.Spec) { s.Rlimits = []sandbox.Rlimit{{Name: "nofile", Soft: 99, Hard: 100}} }, "ulimit -n; ulimit -Hn", "99\n100"},
		"a resource limit behind init": {func(s *sandbox.Spec) {
			s.Init, s.Rlimits = true, []sandbox.Rlimit{{Name: "nofile", Soft: 99, Hard: 100}}
		}, "ulimit -n; ulimit -Hn", "99\n100"},
		"no network":                   {func(s *sandbox.Spec) { s.Network = sandbox.NoNetwork }, "ls /sys/class/net; ip -o addr show lo up | wc -l", "lo\n2"},
		"a file":                       {file("/x/y", "text"), "cat /x/y; stat -c %a /x/y; echo 2>&1 > /x/y", "text444\n/bin/sh: can't create /x/y: Read-only file system"},
		"a file system in memory":      {func(s *sandbox.Spec) { s.Mounts = []sandbox.Mount{{Target: "/t", Size: 1 << 20}} }, "df -k /t | awk 'NR==2{print $2}'", "1024"},
		"a name in PATH":               {env("PATH=/nowhere::relative:/bin"), "echo $PATH", "/nowhere::relative:/bin"},
		"its output, opened by a user": {user("app"), "echo hello > /dev/stdout", "hello"},
	} {
		t.Run(name, func(t *testing.T) {
			b := b.fresh(t)
			s := b.spec("/bin/sh", "-c", test.command)
			s.Env = []string{"PATH=/bin"}
			if test.change != nil {
				test.change(s)
			}
			got, err := b.output(t, s)
			if exit := (*sandbox.ExitError)(nil); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			if got := strings.TrimSpace(got); got != test.want {
				t.Errorf("got:\n%s\nwant:\n%s", got, test.want)
			}
		})
	}
}

const devices = "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero\n" +
	"666 1 3\n666 1 5\n666 1 7\n666 1 8\n666 1 9\n666 5 0"

func user(name string) func(*sandbox.Spec) { return func(s *sandbox.Spec) { s.User = name } }

func env(vars ...string) func(*sandbox.Spec) {
	return func(s *sandbox.Spec) { s.Env = append(s.Env, vars...) }
}

func file(path, data string) func(*sandbox.Spec) {
	return func(s *sandbox.Spec) { s.Files = []sandbox.File{{Path: path, Data: []byte(data), Mode: 0o444}} }
}

func capabilities(set string) string {
	const none = "0000000000000000"
	return "CapInh:\t" + none + "\nCapPrm:\t" + set + "\nCapEff:\t" + set + "\nCapBnd:\t00000000a80425fb\nCapAmb:\t" + none
}

// A command that cannot be executed says why, with a shell's exit status.
func TestCommandErrors(t *testing.T) {
	b := newBench(t)
	write(t, filepath.Join(b.lower, "bin/plain"), "text", 0o644)
	write(t, filepath.Join(b.lower, "bin/script"), "echo no interpreter", 0o755)
	write(t, filepath.Join(b.lower, "bin/orphan"), "#!/nowhere/sh\n", 0o755)
	for name, want := range map[string]struct {
		code int
		text string
	}{
		"missing":      {127, `exec: "missing": executable file not found in $PATH`},
		"/bin/missing": {127, `exec /bin/missing: no such file or directory`},
		"plain":        {126, `exec: "plain": permission denied`},
		"/bin/plain":   {126, `exec /bin/plain: permission denied`},
		"/bin":         {126, `exec /bin: permission denied`},
		"script":       {126, `exec /bin/script: exec format error`},
		"orphan":       {127, `exec /bin/orphan: no such file or directory`},
	} {
		for _, init := range []bool{false, true} {
			b := b.fresh(t)
			s := b.spec(name)
			s.Init = init
			_, err := b.output(t, s)
			var got *sandbox.CommandError
			if !errors.As(err, &got) || got.Code != want.code || got.Error() != want.text {
				t.Errorf("%s (init %v): got %v, want %s with code %d", name, init, err, want.text, want.code)
			}
		}
	}
}

func TestExitStatus(t *testing.T) {
	for _, init := range []bool{false, true} {
		b := newBench(t)
		for command, code := range map[string]int{"exit 0": 0, "exit 3": 3, "sh -c 'kill -9 $$'; exit $?": 137} {
			b := b.fresh(t)
			s := b.spec("sh", "-c", command)
			s.Init = init
			_, err := b.output(t, s)
			var exit *sandbox.ExitError
			if got := errors.As(err, &exit); got != (code != 0) || got && exit.Code != code {
				t.Errorf("%s (init %v): got %v, want %d", command, init, err, code)
			}
		}
	}
}

// Of what the sandbox needs in the root nothing stays in the layer, and no
// directory gets another time.
func TestNoTraceInLayer(t *testing.T) {
	b := newBench(t)
	for _, dir := range []string{"proc", "sys", "dev", "etc", "old"} {
		if err := os.MkdirAll(filepath.Join(b.lower, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	old := time.Unix(1e9, 0)
	for _, dir := range []string{"old", "etc", "."} {
		if err := os.Chtimes(filepath.Join(b.lower, dir), old, old); err != nil {
			t.Fatal(err)
		}
	}
	s := b.spec("sh", "-c", "cat /old/deep/er/file /etc/hosts > /dev/null")
	s.Files = []sandbox.File{{Path: "/old/deep/er/file", Data: []byte("x")}}
	s.Mounts = []sandbox.Mount{{Target: "/old/volume", Source: t.TempDir()}}
	if out, err := b.output(t, s); err != nil {
		t.Fatal(out, err)
	}
	var left []string
	err := filepath.WalkDir(b.upper, func(p string, _ fs.DirEntry, err error) error {
		left = append(left, strings.TrimPrefix(p, b.upper))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"", "/old"}; !slices.Equal(left, want) {
		t.Errorf("the layer has %q, want %q", left, want)
	}
	if info, err := os.Stat(filepath.Join(b.upper, "old")); err != nil || !info.ModTime().Equal(old) {
		t.Errorf("/old has changed: %v, %v", info, err)
	}
}

// What a step writes at the place of a stub stays.
func TestUsedStubStays(t *testing.T) {
	b := newBench(t)
	s := b.spec("sh", "-c", "echo x > /conf/mine")
	s.Files = []sandbox.File{{Path: "/conf/shown", Data: []byte("x")}}
	if out, err := b.output(t, s); err != nil {
		t.Fatal(out, err)
	}
	if _, err := os.Stat(filepath.Join(b.upper, "conf/mine")); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(b.upper, "conf/shown")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the stub is still there: %v", err)
	}
}

// A directory as the root works like an overlay.
func TestBoundRoot(t *testing.T) {
	b := newBench(t)
	s := b.spec("sh", "-c", "touch /new; cat /etc/hosts")
	s.Root = sandbox.Root{Source: b.lower, Writable: true}
	if out, err := b.output(t, s); err != nil || !strings.HasPrefix(out, "127.0.0.1\t") {
		t.Fatal(out, err)
	}
	if _, err := os.Stat(filepath.Join(b.lower, "new")); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(filepath.Join(b.lower, "etc")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("/etc is still there: %v", err)
	}
}

func TestMounts(t *testing.T) {
	b := newBench(t)
	outer, inner, one := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "one")
	write(t, filepath.Join(outer, "name"), "outer", 0o644)
	write(t, filepath.Join(inner, "name"), "inner", 0o644)
	write(t, one, "file", 0o644)
	s := b.spec("sh", "-c", "cat /data/name /data/in/name /data/one; echo x > /data/new; echo x > /data/in/new")
	s.Mounts = []sandbox.Mount{
		{Target: "/data", Source: outer}, {Target: "/data/in", Source: inner, ReadOnly: true}, {Target: "/data/one", Source: one},
	}
	out, err := b.output(t, s)
	if want := "outerinnerfilesh: can't create /data/in/new: Read-only file system\n"; out != want || err == nil {
		t.Errorf("got %q, %v, want %q", out, err, want)
	}
	if _, err := os.Stat(filepath.Join(outer, "new")); err != nil {
		t.Error(err)
	}
	for _, target := range []string{"/", "/proc/x", "/sys"} {
		s := b.fresh(t).spec("true")
		s.Mounts = []sandbox.Mount{{Target: target, Source: outer}}
		if _, err := b.output(t, s); err == nil {
			t.Errorf("a mount at %s is accepted", target)
		}
	}
}

// The two streams of a command go to one writer in order, if they are one.
func TestOutputOrder(t *testing.T) {
	b := newBench(t)
	var out, errs bytes.Buffer
	s := b.spec("sh", "-c", "for i in 1 2 3; do echo o$i; echo e$i >&2; done")
	s.Stdout, s.Stderr = &out, &out
	if err := b.Run(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	if want := "o1\ne1\no2\ne2\no3\ne3\n"; out.String() != want {
		t.Errorf("got %q, want %q", out.String(), want)
	}
	out.Reset()
	b = b.fresh(t)
	s = b.spec("sh", "-c", "echo o; echo e >&2")
	s.Stdout, s.Stderr = &out, &errs
	if err := b.Run(t.Context(), s); err != nil || out.String() != "o\n" || errs.String() != "e\n" {
		t.Errorf("got %q, %q, %v", out.String(), errs.String(), err)
	}
}
