package cli

import (
	"bufio"
	"bytes"
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
	if file == "" {
		file = "Dockerfile"
	}
	in.recipe, err = recipeIn(in.dir, file)
	return in, err
}

// recipeIn reads a recipe out of a directory that a stranger filled.
func recipeIn(dir, file string) (recipe *diag.File, err error) {
	root, err := rootfs.Open(dir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, root.Close()) }()
	data, err := root.ReadFile(file, maxRecipe)
	if err != nil {
		return nil, usage("the Dockerfile %q of the build context cannot be read: %v", file, unwrapPath(err)).WithHint("name it with -f")
	}
	return &diag.File{Name: filepath.Base(file), Text: string(data)}, nil
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
