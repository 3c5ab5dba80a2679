package cli

import (
	"os"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// TestExamplesAreCommands reads the example of each command's help as the command
// itself would: its flags exist, their values are taken, and the arguments are as
// many as it wants.
func TestExamplesAreCommands(t *testing.T) {
	seen := map[string]bool{}
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, c := range cmd.Commands() {
			visit(c)
		}
		if cmd.Hidden || cmd.Name() == "help" || strings.HasPrefix(cmd.CommandPath(), "builder completion") {
			return
		}
		if cmd.Example == "" {
			t.Errorf("%s has no example", cmd.CommandPath())
		}
		for line := range strings.SplitSeq(cmd.Example, "\n") {
			own, err := tryExample(line)
			if err != nil {
				t.Errorf("%s: %q: %v", cmd.CommandPath(), line, err)
			}
			seen[own] = true
		}
	}
	root := newRoot(&streams{in: os.Stdin, out: os.Stdout, err: os.Stderr})
	visit(root)
	if len(seen) < 30 {
		t.Errorf("only %d commands were found in examples", len(seen))
	}
}

// tryExample parses the part of a shell's line that is the command, and returns
// which command it is.
func tryExample(line string) (string, error) {
	var words []string
	for _, part := range strings.FieldsFunc(line, func(r rune) bool { return r == '|' || r == '<' || r == '&' || r == ';' }) {
		if part = strings.TrimSpace(part); strings.HasPrefix(part, "builder ") {
			words = shellWords(part)[1:]
			break
		}
	}
	cmd, args, err := newRoot(&streams{in: os.Stdin, out: os.Stdout, err: os.Stderr}).Find(words)
	if err != nil {
		return "", err
	}
	if err := cmd.ParseFlags(args); err != nil {
		return "", err
	}
	return cmd.CommandPath(), cmd.ValidateArgs(cmd.Flags().Args())
}

// shellWords splits at blanks outside of quotes.
func shellWords(line string) []string {
	var words []string
	var quote rune
	word, begun := "", false
	for _, r := range line + " " {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, begun = r, true
		case quote == 0 && r == ' ':
			if begun {
				words = append(words, word)
			}
			word, begun = "", false
		default:
			word, begun = word+string(r), true
		}
	}
	return words
}
