package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/interp"
	"mvdan.cc/sh/v3/syntax"
)

// shellNames are the names under which the program is a shell, shellTools
// those under which it is one of the shell's built-in commands.
var (
	shellNames = []string{"ash", "bash", "sh"}
	shellTools = []string{"[", "echo", "false", "printf", "pwd", "test", "true"}
)

func isShell(name string) bool     { return slices.Contains(shellNames, name) }
func isShellTool(name string) bool { return slices.Contains(shellTools, name) }

// shell is sh: -c text, a script, or standard input.
func shell(name string, args []string) int {
	line, err := parseShellLine(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 2
	}
	switch {
	case line.command:
		if len(line.operands) == 0 {
			fmt.Fprintf(os.Stderr, "%s: -c needs an argument\n", name)
			return 2
		}
		zero, params := name, line.operands[1:]
		if len(params) > 0 {
			zero, params = params[0], params[1:]
		}
		return runText(strings.NewReader(line.operands[0]), zero, line.options, params)
	case len(line.operands) > 0 && !line.stdin:
		script := line.operands[0]
		file, err := os.Open(script)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %s\n", name, plain(err))
			return 127
		}
		defer file.Close() // opened for reading
		return runText(file, script, line.options, line.operands[1:])
	case line.interactive || isTerminal(os.Stdin):
		return runInteractive(name, line.options, line.operands)
	default:
		return runText(os.Stdin, name, line.options, line.operands)
	}
}

// shellLine is the shell's command line, taken apart.
type shellLine struct {
	command, stdin, interactive bool
	options                     []string // for interp.Params
	operands                    []string
}

func parseShellLine(args []string) (shellLine, error) {
	var line shellLine
	for len(args) > 0 {
		arg := args[0]
		if len(arg) < 2 || arg[0] != '-' && arg[0] != '+' {
			break
		}
		args = args[1:]
		if arg == "--" {
			break
		}
		for _, letter := range arg[1:] {
			switch letter {
			case 'c':
				line.command = true
			case 's':
				line.stdin = true
			case 'i':
				line.interactive = true
			case 'l': // a login shell reads /etc/profile, which does not exist
			case 'e', 'u', 'x', 'f', 'n', 'a':
				line.options = append(line.options, arg[:1]+string(letter))
			case 'o':
				if len(args) == 0 {
					return line, errors.New("-o needs an argument")
				}
				line.options = append(line.options, arg[:1]+"o", args[0])
				args = args[1:]
			default:
				return line, fmt.Errorf("unknown option %q", arg[:1]+string(letter))
			}
		}
	}
	line.operands = args
	return line, nil
}

// newRunner returns an interpreter whose external commands are ours.
func newRunner(options, params []string) (*interp.Runner, error) {
	return interp.New(
		interp.StdIO(os.Stdin, os.Stdout, os.Stderr),
		interp.Env(expand.ListEnviron(shellEnviron()...)),
		interp.Params(append(append(slices.Clone(options), "--"), params...)...),
		interp.CallHandler(redirectBuiltin),
		interp.ExecHandlers(func(interp.ExecHandlerFunc) interp.ExecHandlerFunc { return execute }),
	)
}

// shellEnviron is the environment, with a PATH where there is none.
func shellEnviron() []string {
	env := os.Environ()
	if _, ok := os.LookupEnv("PATH"); !ok {
		env = append(env, "PATH="+defaultPath)
	}
	return env
}

func runText(text io.Reader, zero string, options, params []string) int {
	program, err := syntax.NewParser().Parse(text, zero)
	if err != nil {
		fmt.Fprintln(os.Stderr, plain(err))
		return 2
	}
	return runProgram(program, options, params)
}

func runProgram(program *syntax.File, options, params []string) int {
	runner, err := newRunner(options, params)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", program.Name, err)
		return 2
	}
	return exitStatus(runner.Run(context.Background(), program))
}

// shellTool runs a built-in command as a program of its own.
func shellTool(name string, args []string) int {
	text := name + ` "$@"`
	if name == "[" {
		// The parser wants to see the closing bracket.
		if len(args) == 0 || args[len(args)-1] != "]" {
			fmt.Fprintln(os.Stderr, "[: missing ]")
			return 2
		}
		text, args = `test "$@"`, args[:len(args)-1]
	}
	return runText(strings.NewReader(text), name, nil, args)
}

// exitStatus turns what the interpreter returned into a status, and prints
// what is more than a status.
func exitStatus(err error) int {
	var status interp.ExitStatus
	switch {
	case err == nil:
		return 0
	case errors.As(err, &status):
		return int(status)
	default:
		fmt.Fprintln(os.Stderr, plain(err))
		return 1
	}
}

// runInteractive reads commands and runs each as soon as it is complete. An
// interrupt ends the command and not the shell.
func runInteractive(name string, options, params []string) int {
	runner, err := newRunner(options, params)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		return 2
	}
	status := 0
	parser := syntax.NewParser()
	prompt(runner)
	for statements, err := range parser.InteractiveSeq(bufio.NewReader(os.Stdin)) {
		switch {
		case err != nil:
			fmt.Fprintln(os.Stderr, plain(err))
			return 2
		case parser.Incomplete():
			fmt.Fprint(os.Stderr, "> ")
			continue
		}
		for _, statement := range statements {
			ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
			status = exitStatus(runner.Run(ctx, statement))
			stop()
			if runner.Exited() {
				return status
			}
		}
		prompt(runner)
	}
	return status
}

func prompt(runner *interp.Runner) {
	mark := "$ "
	if os.Geteuid() == 0 {
		mark = "# "
	}
	dir := runner.Dir
	if dir == "" {
		dir, _ = os.Getwd() // a prompt without a directory is still a prompt
	}
	fmt.Fprint(os.Stderr, dir, " ", mark)
}
