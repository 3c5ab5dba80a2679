package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"sync"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"builder/executor"
	"builder/executor/sandbox"
	"builder/internal/dap"
)

func newDap(g *globals) *cobra.Command {
	f := newBuildFlags()
	build := &cobra.Command{
		Use:     "build [OPTIONS] [PATH | URL]",
		Short:   "Build as an editor's debugger wants it",
		Example: "  builder dap build .",
		Args:    between(0, 1, "at most one build context"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.debugged(cmd.Context(), g, append(args, ".")[0])
		},
	}
	f.add(g, build)
	cmd := group("dap", "Speak the Debug Adapter Protocol to an editor", "  builder dap build .", build)
	return cmd
}

// debugged builds as the editor at standard input and output says.
func (f *buildFlags) debugged(ctx context.Context, g *globals, contextArg string) error {
	if err := g.enter(); err != nil {
		return err
	}
	nothing, err := os.Open(os.DevNull)
	if err != nil {
		return err
	}
	defer nothing.Close()
	var server *dap.Server
	server = dap.New(g.in, g.out, func(ctx context.Context, l dap.Launch) error {
		f.launch(l)
		if l.ContextPath != "" {
			contextArg = l.ContextPath
		}
		if l.Dockerfile != "" && !filepath.IsAbs(l.Dockerfile) && !isURL(l.Dockerfile) {
			f.file = filepath.Join(contextArg, l.Dockerfile)
		}
		f.editor = &editor{server: server, recipe: f.recipePath(contextArg)}
		f.jobs = 1 // one step after the other, as it is shown
		f.progress.value = "plain"
		own := *g
		own.streams = &streams{in: nothing, out: server, err: server}
		err := runBuild(ctx, &own, f, contextArg)
		if err != nil && !errors.Is(err, dap.ErrTerminated) {
			report(server, err)
		}
		return err
	})
	return server.Serve(ctx)
}

// recipePath is where the recipe lies, in full, if it lies on this machine.
func (f *buildFlags) recipePath(contextArg string) string {
	path := f.file
	if _, _, remote, err := remoteContext(contextArg); path == "" && (remote || err != nil || contextArg == "-") || path == "-" || isURL(path) {
		return ""
	}
	if path == "" {
		path = filepath.Join(contextArg, "Dockerfile")
	}
	full, err := filepath.Abs(path)
	if err != nil {
		return ""
	}
	return full
}

// launch takes what the editor says beside the command line.
func (f *buildFlags) launch(l dap.Launch) {
	if l.Dockerfile != "" {
		f.file = l.Dockerfile
	}
	if l.Target != "" {
		f.target = l.Target
	}
	for name, value := range l.Args {
		f.buildArgs = append(f.buildArgs, name+"="+value)
	}
}

// editor is told where a build stops.
type editor struct {
	server *dap.Server
	recipe string     // its path; empty where it has none
	one    sync.Mutex // stops of steps side by side follow each other
}

// file is the path of a recipe by the name that it has in messages: that of the recipe, or of one
// beside it that it includes.
func (e *editor) file(name string) string {
	if e.recipe == "" || name == filepath.Base(e.recipe) {
		return e.recipe
	}
	return filepath.Join(filepath.Dir(e.recipe), name)
}

// reached is called where the build could stop.
func (e *editor) reached(ctx context.Context, at executor.Stopped) error {
	e.one.Lock()
	defer e.one.Unlock()
	stop := &dap.Stop{Name: at.Step, Err: at.Err, Env: at.Env}
	if !at.Span.IsZero() {
		stop.Line, stop.Last = at.Span.Start.Line, max(at.Span.Start.Line, at.Span.End.Line)
		stop.File = e.file(at.Span.File.Name)
	}
	stop.List = func(dir string) ([]dap.Entry, error) { return listTree(ctx, at, dir) }
	stop.Read = func(name string) ([]byte, error) { return readTree(ctx, at, name) }
	stop.Exec = func(ctx context.Context, command string) (string, error) {
		var out bytes.Buffer
		err := at.Run(ctx, executor.Session{Args: []string{"/bin/sh", "-c", command}, Stdout: &out, Stderr: &out})
		if exit := (*sandbox.ExitError)(nil); errors.As(err, &exit) {
			fmt.Fprintf(&out, "%v\n", exit)
			err = nil
		}
		return out.String(), err
	}
	return e.server.Reached(stop)
}

// listTree lists a directory of a step's tree.
func listTree(ctx context.Context, at executor.Stopped, dir string) (list []dap.Entry, err error) {
	root, err := at.Root(ctx)
	if err != nil {
		return nil, err
	}
	d, err := sandbox.OpenDir(root, dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	for _, name := range names {
		var st unix.Stat_t
		if err := unix.Fstatat(int(d.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
			return nil, &os.PathError{Op: "stat", Path: path.Join(dir, name), Err: err}
		}
		list = append(list, dap.Entry{Name: name, Mode: fmt.Sprintf("%s %d:%d %d", modeWord(st.Mode), st.Uid, st.Gid, st.Size), Dir: st.Mode&unix.S_IFMT == unix.S_IFDIR})
	}
	return list, err
}

// modeWord is a mode as ls(1) writes it, but for set-ID bits, which stand in front.
func modeWord(mode uint32) string {
	kind := map[uint32]fs.FileMode{
		unix.S_IFDIR: fs.ModeDir, unix.S_IFLNK: fs.ModeSymlink, unix.S_IFIFO: fs.ModeNamedPipe, unix.S_IFSOCK: fs.ModeSocket,
		unix.S_IFCHR: fs.ModeDevice | fs.ModeCharDevice, unix.S_IFBLK: fs.ModeDevice,
	}[mode&unix.S_IFMT]
	for bit, is := range map[uint32]fs.FileMode{unix.S_ISUID: fs.ModeSetuid, unix.S_ISGID: fs.ModeSetgid, unix.S_ISVTX: fs.ModeSticky} {
		if mode&bit != 0 {
			kind |= is
		}
	}
	return (kind | fs.FileMode(mode&0o777)).String()
}

// maxLooked is how much of a file of a tree is read.
const maxLooked = 1 << 20

// readTree reads a regular file of a step's tree.
func readTree(ctx context.Context, at executor.Stopped, name string) (data []byte, err error) {
	root, err := at.Root(ctx)
	if err != nil {
		return nil, err
	}
	d, err := sandbox.OpenDir(root, path.Dir(name))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, d.Close()) }()
	fd, err := unix.Openat(int(d.Fd()), path.Base(name), unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	in := os.NewFile(uintptr(fd), name)
	data, err = io.ReadAll(io.LimitReader(in, maxLooked))
	return data, errors.Join(err, in.Close())
}
