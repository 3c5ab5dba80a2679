package depot

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestReadingAheadChangesNothing(t *testing.T) {
	data := make([]byte, 3*aheadBlocks*aheadBlock+17)
	for i := range data {
		data[i] = byte(i ^ i>>8 ^ i>>16)
	}
	broken := errors.New("broken")
	for _, n := range []int{0, 1, aheadBlock - 1, aheadBlock, aheadBlock + 1, len(data)} {
		for name, r := range map[string]io.Reader{
			"plain":              bytes.NewReader(data[:n]),
			"ends with its data": iotest.DataErrReader(bytes.NewReader(data[:n])),
			"in halves":          iotest.HalfReader(bytes.NewReader(data[:n])),
		} {
			a := readAhead(r)
			if err := iotest.TestReader(readAhead(a), data[:n]); err != nil {
				t.Errorf("%s, %d bytes: %v", name, n, err)
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
		}
		a := readAhead(io.MultiReader(bytes.NewReader(data[:n]), iotest.ErrReader(broken)))
		got, err := io.ReadAll(a)
		if !errors.Is(err, broken) || !bytes.Equal(got, data[:n]) {
			t.Errorf("an error after %d bytes: %d bytes, %v", n, len(got), err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, broken) {
			t.Errorf("and again: %v", err)
		}
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	}
}

// endless never ends; it can tell whether somebody reads from it.
type endless struct{ reading chan struct{} }

func (e endless) Read(p []byte) (int, error) {
	e.reading <- struct{}{}
	<-e.reading
	return len(p), nil
}

func TestReadingAheadStops(t *testing.T) {
	e := endless{make(chan struct{}, 1)}
	a := readAhead(e)
	if _, err := io.ReadFull(a, make([]byte, 10*aheadBlock)); err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	select {
	case e.reading <- struct{}{}:
	default:
		t.Error("it is read from after Close")
	}
}
