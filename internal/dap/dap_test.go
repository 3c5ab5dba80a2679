package dap

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
)

// FuzzRead holds that whatever an editor sends is read or refused, and that what is written is read again.
func FuzzRead(f *testing.F) {
	for _, text := range []string{
		"Content-Length: 2\r\n\r\n{}", "Content-Length: 57\r\n\r\n{\"seq\":1,\"type\":\"request\",\"command\":\"variables\",\"arguments\":{}}",
		"content-length:3\n\n{}", "Content-Length: -1\r\n\r\n", "Content-Length: 99999999999\r\n\r\n{}", "x\r\n\r\n", "Content-Length: 4\r\n\r\nnull",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, err := read(bufio.NewReader(strings.NewReader(text)))
		if err == nil {
			var out bytes.Buffer
			if err := write(&out, m); err != nil {
				return // numbers and texts that JSON does not have
			}
			again, err := read(bufio.NewReader(&out))
			if err != nil || again.Command != m.Command || again.Seq != m.Seq {
				t.Errorf("%+v is read again as %+v, %v", m, again, err)
			}
		}
		s := New(strings.NewReader(text), io.Discard, func(context.Context, Launch) error { return nil })
		_ = s.Serve(t.Context())
	})
}
