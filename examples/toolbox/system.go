package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func envTool(p *process) {
	o := p.options("+iu:0", map[string]byte{"ignore-environment": 'i', "unset": 'u', "null": '0'})
	if o.has("i") {
		p.environ = nil
	}
	for _, name := range o.values['u'] {
		p.unset(name)
	}
	args := o.operands
	for len(args) > 0 && strings.Contains(args[0], "=") {
		name, _, _ := strings.Cut(args[0], "=")
		p.unset(name)
		p.environ = append(p.environ, args[0])
		args = args[1:]
	}
	if len(args) > 0 {
		p.status = p.start("env", args)
		return
	}
	end := "\n"
	if o.has("0") {
		end = "\x00"
	}
	for _, v := range p.environ {
		p.printf("%s%s", v, end)
	}
}

func (p *process) unset(name string) {
	var kept []string
	for _, v := range p.environ {
		if !strings.HasPrefix(v, name+"=") {
			kept = append(kept, v)
		}
	}
	p.environ = kept
}

func printenv(p *process) {
	o := p.options("+", nil)
	if len(o.operands) == 0 {
		p.println(strings.Join(p.environ, "\n"))
	}
	for _, name := range o.operands {
		found := false
		for _, v := range p.environ {
			if value, ok := strings.CutPrefix(v, name+"="); ok {
				p.println(value)
				found = true
			}
		}
		if !found {
			p.status = 1
		}
	}
}

func xargs(p *process) {
	o := p.options("+0n:I:rtd:L:", map[string]byte{
		"null": '0', "max-args": 'n', "replace": 'I', "no-run-if-empty": 'r', "verbose": 't', "delimiter": 'd',
	})
	data, err := io.ReadAll(p.in)
	p.must(err)
	items := splitItems(p, o, string(data))
	command := o.operands
	if len(command) == 0 {
		command = []string{"echo"}
	}
	p.in = bytes.NewReader(nil)
	if mark := o.value('I'); mark != "" {
		for _, item := range items {
			words := make([]string, len(command))
			for i, word := range command {
				words[i] = strings.ReplaceAll(word, mark, item)
			}
			p.xargsRun(o, words)
		}
		return
	}
	if len(items) == 0 && !o.has("r") {
		p.xargsRun(o, command)
	}
	for len(items) > 0 {
		n, size := 0, 0
		limit := int(o.number('n', int64(len(items))))
		for n < len(items) && n < max(limit, 1) && (n == 0 || size+len(items[n]) < 128<<10) {
			size += len(items[n]) + 1
			n++
		}
		p.xargsRun(o, append(append([]string{}, command...), items[:n]...))
		items = items[n:]
	}
}

func (p *process) xargsRun(o *options, command []string) {
	if o.has("t") {
		fmt.Fprintln(p.err, strings.Join(command, " "))
	}
	switch status := p.start("xargs", command); {
	case status == 126 || status == 127:
		panic(quit{status})
	case status == 255:
		panic(quit{124})
	case status != 0:
		p.status = 123
	}
}

func splitItems(p *process, o *options, text string) []string {
	end := ""
	switch {
	case o.has("0"):
		end = "\x00"
	case o.has("d"):
		set := p.charset(o.value('d'))
		end = string(set)
	case o.has("IL"):
		end = "\n"
	}
	if o.has("L") && o.value('L') != "1" {
		p.die(2, "-L takes 1 only")
	}
	if o.has("L") && !o.has("n") {
		o.add('n', "1")
	}
	if end == "" {
		return p.words(text)
	}
	var items []string
	for item := range strings.SplitSeq(strings.TrimSuffix(text, end), end) {
		if item != "" || o.has("0d") && text != "" {
			items = append(items, item)
		}
	}
	return items
}

// words splits text at blanks; quotes and backslashes keep them.
func (p *process) words(text string) []string {
	var items []string
	var word strings.Builder
	inside, quote := false, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote != 0 && c == quote:
			quote = 0
		case quote != 0:
			word.WriteByte(c)
		case c == '\'' || c == '"':
			quote, inside = c, true
		case c == '\\' && i+1 < len(text):
			i++
			word.WriteByte(text[i])
			inside = true
		case strings.IndexByte(" \t\n\r\v\f", c) >= 0:
			if inside {
				items = append(items, word.String())
			}
			word.Reset()
			inside = false
		default:
			word.WriteByte(c)
			inside = true
		}
	}
	if quote != 0 {
		p.die(1, "unmatched quote")
	}
	if inside {
		items = append(items, word.String())
	}
	return items
}

func hostname(p *process) {
	o := p.options("s", nil)
	if len(o.operands) > 0 {
		p.must(syscall.Sethostname([]byte(o.operands[0])))
		return
	}
	name, err := os.Hostname()
	p.must(err)
	if o.has("s") {
		name, _, _ = strings.Cut(name, ".")
	}
	p.println(name)
}

func uname(p *process) {
	o := p.options("asnrvmo", map[string]byte{
		"all": 'a', "kernel-name": 's', "nodename": 'n', "kernel-release": 'r', "kernel-version": 'v', "machine": 'm', "operating-system": 'o',
	})
	var u unix.Utsname
	p.must(unix.Uname(&u))
	parts := []struct {
		letter string
		text   string
	}{
		{"s", unix.ByteSliceToString(u.Sysname[:])}, {"n", unix.ByteSliceToString(u.Nodename[:])},
		{"r", unix.ByteSliceToString(u.Release[:])}, {"v", unix.ByteSliceToString(u.Version[:])},
		{"m", unix.ByteSliceToString(u.Machine[:])}, {"o", "GNU/Linux"},
	}
	var words []string
	for _, part := range parts {
		if o.has("a"+part.letter) || len(o.values) == 0 && part.letter == "s" {
			words = append(words, part.text)
		}
	}
	p.println(strings.Join(words, " "))
}

func sleep(p *process) {
	o := p.options("+", nil)
	o.need(1)
	var total time.Duration
	for _, text := range o.operands {
		if text == "infinity" {
			text = "1000000000"
		}
		total += p.duration(text)
	}
	select {
	case <-time.After(total):
	case <-p.ctx.Done():
		p.status = 130
	}
}

// duration reads seconds, or a number with the unit s, m, h or d.
func (p *process) duration(text string) time.Duration {
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	digits, unit := text, time.Second
	if text != "" {
		if u, ok := units[text[len(text)-1]]; ok {
			digits, unit = text[:len(text)-1], u
		}
	}
	n, err := strconv.ParseFloat(digits, 64)
	if err != nil || n < 0 {
		p.die(2, "invalid time %q", text)
	}
	return time.Duration(n * float64(unit))
}

func date(p *process) {
	o := p.options("ud:r:I", map[string]byte{"utc": 'u', "date": 'd', "reference": 'r'})
	now := time.Now()
	if o.has("d") {
		now = p.parseTime(o.value('d'))
	}
	if o.has("r") {
		info, err := os.Stat(p.path(o.value('r')))
		p.must(err)
		now = info.ModTime()
	}
	if zone := p.getenv("TZ"); o.has("u") || zone == "UTC" || zone == "UTC0" {
		now = now.UTC()
	}
	format := "%a %b %e %H:%M:%S %Z %Y"
	if o.has("I") {
		format = "%Y-%m-%d"
	}
	if len(o.operands) > 0 {
		var ok bool
		if format, ok = strings.CutPrefix(o.operands[0], "+"); !ok {
			p.die(2, "setting the clock is not supported")
		}
	}
	p.println(p.strftime(format, now))
}

func (p *process) strftime(format string, t time.Time) string {
	layouts := map[byte]string{
		'Y': "2006", 'm': "01", 'd': "02", 'e': "_2", 'H': "15", 'M': "04", 'S': "05", 'y': "06", 'b': "Jan", 'h': "Jan",
		'B': "January", 'a': "Mon", 'A': "Monday", 'Z': "MST", 'z': "-0700", 'F': "2006-01-02", 'T': "15:04:05",
		'D': "01/02/06", 'R': "15:04", 'I': "03", 'p': "PM", 'N': "000000000", 'j': "002", 'c': "Mon Jan _2 15:04:05 2006",
	}
	var text strings.Builder
	for i := 0; i < len(format); i++ {
		if format[i] != '%' || i+1 == len(format) {
			text.WriteByte(format[i])
			continue
		}
		i++
		layout, ok := layouts[format[i]]
		switch {
		case format[i] == '%':
			text.WriteByte('%')
		case format[i] == 'n':
			text.WriteByte('\n')
		case format[i] == 's':
			text.WriteString(strconv.FormatInt(t.Unix(), 10))
		case format[i] == 'N':
			fmt.Fprintf(&text, "%09d", t.Nanosecond())
		case format[i] == 'u':
			text.WriteString(strconv.Itoa((int(t.Weekday())+6)%7 + 1))
		case !ok:
			p.die(2, "unknown directive %%%c", format[i])
		default:
			text.WriteString(t.Format(layout))
		}
	}
	return text.String()
}

// parseTime reads @SECONDS and the usual ways to write a date.
func (p *process) parseTime(text string) time.Time {
	if seconds, ok := strings.CutPrefix(text, "@"); ok {
		if n, err := strconv.ParseInt(seconds, 10, 64); err == nil {
			return time.Unix(n, 0)
		}
	}
	if text == "now" {
		return time.Now()
	}
	for _, layout := range []string{
		time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02",
		"2006-01-02 15:04:05 MST", "2006-01-02 15:04:05 -0700", time.RFC1123, time.RFC1123Z,
	} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t
		}
	}
	p.die(1, "invalid date %q", text)
	return time.Time{}
}

// parseStamp reads touch's [[CC]YY]MMDDhhmm[.ss].
func (p *process) parseStamp(text string) time.Time {
	for _, layout := range []string{"200601021504.05", "200601021504", "0601021504.05", "0601021504"} {
		if t, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return t
		}
	}
	p.die(1, "invalid date %q", text)
	return time.Time{}
}

func seq(p *process) {
	separator, equal := "\n", false
	args := p.args
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && !isNumber(args[0]) {
		switch {
		case args[0] == "-w":
			equal = true
		case strings.HasPrefix(args[0], "-s") && len(args[0]) > 2:
			separator = args[0][2:]
		case args[0] == "-s" && len(args) > 1:
			separator = args[1]
			args = args[1:]
		default:
			p.die(2, "unknown option %s", args[0])
		}
		args = args[1:]
	}
	var numbers []int64
	for _, text := range args {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			p.die(2, "%q is not a whole number", text)
		}
		numbers = append(numbers, n)
	}
	first, step, last := int64(1), int64(1), int64(0)
	switch len(numbers) {
	case 1:
		last = numbers[0]
	case 2:
		first, last = numbers[0], numbers[1]
	case 3:
		first, step, last = numbers[0], numbers[1], numbers[2]
	default:
		p.die(2, "one to three numbers are needed")
	}
	if step == 0 {
		p.die(2, "the step is zero")
	}
	width := 0
	if equal {
		width = max(len(strconv.FormatInt(first, 10)), len(strconv.FormatInt(last, 10)))
	}
	glue := ""
	for n := first; step > 0 && n <= last || step < 0 && n >= last; n += step {
		p.printf("%s%0*d", glue, width, n)
		glue = separator
	}
	if glue != "" {
		p.println("")
	}
}

func basename(p *process) {
	o := p.options("+as:", map[string]byte{"multiple": 'a', "suffix": 's'})
	o.need(1)
	suffix, names := o.value('s'), o.operands
	if !o.has("as") {
		if len(names) > 1 {
			suffix = names[1]
		}
		names = names[:1]
	}
	for _, name := range names {
		base := filepath.Base(name)
		if base != suffix {
			base = strings.TrimSuffix(base, suffix)
		}
		p.println(base)
	}
}

func dirname(p *process) {
	o := p.options("+", nil)
	o.need(1)
	for _, name := range o.operands {
		trimmed := strings.TrimRight(name, "/")
		if trimmed == "" && name != "" {
			p.println("/")
			continue
		}
		p.println(filepath.Dir(trimmed))
	}
}

func readlink(p *process) {
	o := p.options("fenm", map[string]byte{"canonicalize": 'f', "no-newline": 'n', "canonicalize-existing": 'e', "canonicalize-missing": 'm'})
	o.need(1)
	end := "\n"
	if o.has("n") {
		end = ""
	}
	for _, name := range o.operands {
		if !o.has("fem") && p.name != "realpath" {
			to, err := os.Readlink(p.path(name))
			if err != nil {
				p.status = 1
				continue
			}
			p.printf("%s%s", to, end)
			continue
		}
		real, err := p.canonical(name, o.has("e"), o.has("m"))
		if err != nil {
			if p.name == "realpath" {
				p.complain(err)
			}
			p.status = 1
			continue
		}
		p.printf("%s%s", real, end)
	}
}

// canonical resolves all links in name. The last part may be missing unless
// existing is set; with missing any may.
func (p *process) canonical(name string, existing, missing bool) (string, error) {
	abs := p.absolute(name)
	real, err := filepath.EvalSymlinks(abs)
	if err == nil || existing || !errors.Is(err, fs.ErrNotExist) || abs == "/" {
		return real, err
	}
	if to, err := os.Readlink(abs); err == nil { // a link to what is missing
		if !filepath.IsAbs(to) {
			to = filepath.Join(filepath.Dir(abs), to)
		}
		return p.canonical(to, false, missing)
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(abs))
	if err != nil && missing {
		parent, err = p.canonical(filepath.Dir(abs), false, true)
	}
	return filepath.Join(parent, filepath.Base(abs)), err
}

func syncTool(p *process) {
	p.options("", nil)
	unix.Sync()
}

func kill(p *process) {
	args, sig := p.args, syscall.SIGTERM
	if len(args) > 0 && args[0] == "-l" {
		for n := syscall.Signal(1); n < 32; n++ {
			p.println(strings.TrimPrefix(unix.SignalName(n), "SIG"))
		}
		return
	}
	if len(args) > 0 && strings.HasPrefix(args[0], "-") && args[0] != "--" {
		name := args[0][1:]
		args = args[1:]
		if name == "s" || name == "n" {
			if len(args) == 0 {
				p.die(2, "missing signal")
			}
			name, args = args[0], args[1:]
		}
		sig = p.signal(name)
	}
	if len(args) > 0 && args[0] == "--" {
		args = args[1:]
	}
	if len(args) == 0 {
		p.die(2, "missing process")
	}
	for _, text := range args {
		pid, err := strconv.Atoi(text)
		if err != nil {
			p.complain(fmt.Errorf("%q is not a process", text))
			continue
		}
		if err := syscall.Kill(pid, sig); err != nil {
			p.complain(fmt.Errorf("%d: %w", pid, err))
		}
	}
}

func (p *process) signal(name string) syscall.Signal {
	if n, err := strconv.Atoi(name); err == nil {
		return syscall.Signal(n)
	}
	sig := unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(name), "SIG"))
	if sig == 0 {
		p.die(2, "unknown signal %q", name)
	}
	return sig
}

func ps(p *process) {
	p.options("aefx", nil) // all processes in any case
	entries, err := os.ReadDir("/proc")
	p.must(err)
	p.println("  PID USER     COMMAND")
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		info, err := os.Stat("/proc/" + e.Name())
		command, err2 := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if errors.Join(err, err2) != nil {
			continue // it has ended
		}
		text := strings.TrimSpace(strings.ReplaceAll(string(command), "\x00", " "))
		if text == "" {
			name, _ := os.ReadFile("/proc/" + e.Name() + "/comm") // a kernel thread, or gone
			text = "[" + strings.TrimSpace(string(name)) + "]"
		}
		p.printf("%5s %-8s %s\n", e.Name(), userName(int(info.Sys().(*syscall.Stat_t).Uid)), text)
	}
}

func umask(p *process) {
	o := p.options("+S", nil)
	if len(o.operands) == 0 {
		p.printf("%04o\n", umaskNow())
		return
	}
	mask, err := strconv.ParseUint(o.operands[0], 8, 32)
	if err != nil || mask > 0o777 || o.has("S") {
		p.die(2, "invalid mask %q", o.operands[0])
	}
	syscall.Umask(int(mask))
}

func nproc(p *process) {
	p.options("", nil)
	p.println(strconv.Itoa(runtime.NumCPU()))
}

func yes(p *process) {
	line := "y"
	if len(p.args) > 0 {
		line = strings.Join(p.args, " ")
	}
	for p.ctx.Err() == nil {
		p.println(line)
	}
}

func which(p *process) {
	o := p.options("", nil)
	for _, name := range o.operands {
		path, err := p.search(name)
		if err != nil {
			p.status = 1
			continue
		}
		p.println(path)
	}
}

func cmpFiles(p *process) {
	o := p.options("s", map[string]byte{"silent": 's', "quiet": 's'})
	o.need(2)
	var contents [2][]byte
	for i := range contents {
		r, err := p.open(o.operands[i])
		if err == nil {
			contents[i], err = io.ReadAll(r)
			err = errors.Join(err, r.Close())
		}
		if err != nil {
			p.die(2, "%s", plain(err))
		}
	}
	a, b := contents[0], contents[1]
	if bytes.Equal(a, b) {
		return
	}
	p.status = 1
	if o.has("s") {
		return
	}
	at := 0
	for at < min(len(a), len(b)) && a[at] == b[at] {
		at++
	}
	p.printf("%s %s differ: byte %d, line %d\n", o.operands[0], o.operands[1], at+1, bytes.Count(a[:at], []byte{'\n'})+1)
}

func mkfifo(p *process) {
	o := p.options("m:", map[string]byte{"mode": 'm'})
	o.need(1)
	for _, name := range o.operands {
		err := unix.Mkfifo(p.path(name), 0o666)
		if err == nil && o.has("m") {
			var info fs.FileInfo
			if info, err = os.Stat(p.path(name)); err == nil {
				err = syscall.Chmod(p.path(name), p.mode(o.value('m'), info))
			}
		}
		if err != nil {
			p.complain(&fs.PathError{Op: "mkfifo", Path: name, Err: err})
		}
	}
}
