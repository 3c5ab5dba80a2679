package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A process is one call of a tool, in a process of its own or in the shell's.
type process struct {
	ctx     context.Context // the tool's life: tools are called like programs
	name    string
	args    []string
	dir     string // what relative paths are relative to; "" is this process's
	environ []string
	in      io.Reader
	stdout  io.Writer // unbuffered; tools write to out
	err     io.Writer

	out    *bufio.Writer
	status int
}

// A tool does its work and leaves its exit status in p.
type tool func(p *process)

// quit ends a tool from anywhere below it; only run recovers it.
type quit struct{ status int }

// run calls the tool and returns its exit status. Output that nobody reads
// ends the tool with the status of a program killed by SIGPIPE.
func (p *process) run(do tool) (status int) {
	p.out = bufio.NewWriterSize(brokenPipe{p.stdout}, 32<<10)
	defer func() {
		switch q := recover().(type) {
		case nil:
		case quit:
			status = q.status
		default:
			panic(q)
		}
	}()
	defer p.out.Flush() //nolint:errcheck // brokenPipe panics instead
	do(p)
	return p.status
}

// brokenPipe ends the tool when its output cannot be written.
type brokenPipe struct{ w io.Writer }

func (b brokenPipe) Write(data []byte) (int, error) {
	n, err := b.w.Write(data)
	if err == nil {
		return n, nil
	}
	if !errors.Is(err, syscall.EPIPE) {
		fmt.Fprintf(os.Stderr, "toolbox: write: %s\n", reason(err))
		panic(quit{1})
	}
	panic(quit{128 + int(syscall.SIGPIPE)})
}

func (p *process) printf(format string, args ...any) { fmt.Fprintf(p.out, format, args...) }

func (p *process) println(line string) {
	p.out.WriteString(line) //nolint:errcheck // brokenPipe panics instead
	p.out.WriteByte('\n')   //nolint:errcheck
}

// complain reports err and lets the tool go on; its status becomes 1.
func (p *process) complain(err error) {
	if err == nil {
		return
	}
	p.out.Flush() //nolint:errcheck // brokenPipe panics instead
	text := plain(err)
	if p.dir != "" {
		text = strings.ReplaceAll(text, p.dir+"/", "")
	}
	fmt.Fprintf(p.err, "%s: %s\n", p.name, text)
	if p.status == 0 {
		p.status = 1
	}
}

// die reports a fault and ends the tool.
func (p *process) die(status int, format string, args ...any) {
	p.complain(fmt.Errorf(format, args...))
	panic(quit{status})
}

// must ends the tool if err is not nil.
func (p *process) must(err error) {
	if err != nil {
		p.complain(err)
		panic(quit{1})
	}
}

// path says where the file is that the user calls name.
func (p *process) path(name string) string {
	if p.dir == "" || filepath.IsAbs(name) {
		return name
	}
	if name == "" {
		return ""
	}
	joined := p.dir + "/" + name // not cleaned: "link/.." is not "."
	return joined
}

func (p *process) getenv(name string) string {
	for i := len(p.environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(p.environ[i], name+"="); ok {
			return value
		}
	}
	return ""
}

// open opens a file to read; "-" is standard input.
func (p *process) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(p.in), nil
	}
	f, err := os.Open(p.path(name))
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		f.Close() //nolint:errcheck // opened for reading
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EISDIR}
	}
	return f, nil
}

// each calls do with each of the named files, or with standard input if none
// is named, and complains about those that cannot be read.
func (p *process) each(names []string, do func(name string, r io.Reader) error) {
	if len(names) == 0 {
		names = []string{"-"}
	}
	for _, name := range names {
		r, err := p.open(name)
		if err == nil {
			err = errors.Join(do(name, r), r.Close())
		}
		p.complain(err)
	}
}

// eachLine calls do with each line of r, without its newline, until do returns
// false.
func eachLine(r io.Reader, do func(line string) bool) error {
	return eachRecord(r, '\n', do)
}

func eachRecord(r io.Reader, end byte, do func(record string) bool) error {
	buffered := bufio.NewReaderSize(r, 64<<10)
	for {
		record, err := buffered.ReadBytes(end)
		if len(record) > 0 && !do(string(bytes.TrimSuffix(record, []byte{end}))) {
			return nil
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// plain words an error as tools do: what, then why.
func plain(err error) string {
	var path *fs.PathError
	if errors.As(err, &path) {
		return path.Path + ": " + path.Err.Error()
	}
	var link *os.LinkError
	if errors.As(err, &link) {
		return link.Old + ": " + link.New + ": " + link.Err.Error()
	}
	return err.Error()
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	return ioctlIsTerminal(f.Fd())
}
