package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"builder/internal/diag"
	"builder/internal/rootfs"
)

// openStdin reads standard input as docker does: a tar is a build context,
// anything else a Dockerfile for an empty one. recipe is what -f named if that is
// known already.
func (m *machine) openStdin(ctx context.Context, stdin io.Reader, file string, recipe *diag.File) (*input, error) {
	r := bufio.NewReaderSize(stdin, 4096)
	start, err := r.Peek(512)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read standard input: %w", err)
	}
	if !isArchive(start) {
		if file != "" && file != "-" {
			return nil, usage("standard input is a Dockerfile, and -f names another").WithHint("give a tar of the build context, or a directory")
		}
		recipe, err := readRecipe("-", r)
		if err != nil {
			return nil, err
		}
		return &input{recipe: recipe}, nil
	}
	if file == "-" {
		return nil, usage("standard input is the build context, and -f - wants the Dockerfile from it too")
	}
	in := &input{recipe: recipe}
	if err := m.openTar(ctx, in, r); err != nil || recipe != nil {
		return in, err
	}
	return in, in.readRecipe(cmp.Or(file, "Dockerfile"))
}

// readRecipe reads the recipe out of a context that a stranger filled.
func (in *input) readRecipe(file string) (err error) {
	root, err := rootfs.Open(in.dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	data, err := root.ReadFile(file, maxRecipe)
	if err != nil {
		return usage("the Dockerfile %q of the build context cannot be read: %v", file, unwrapPath(err)).WithHint("name it with -f")
	}
	in.recipe = &diag.File{Name: filepath.Base(file), Text: string(data)}
	return in.includes(filepath.Join(in.dir, file))
}

// isArchive tells a tar, compressed or not, from text.
func isArchive(start []byte) bool {
	for _, magic := range []string{"\x1f\x8b", "BZh", "\xfd7zXZ\x00", "\x28\xb5\x2f\xfd"} {
		if bytes.HasPrefix(start, []byte(magic)) {
			return true
		}
	}
	return len(start) >= 262 && bytes.HasPrefix(start[257:], []byte("ustar"))
}
