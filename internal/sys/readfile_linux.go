package sys

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// ReadFile is [os.ReadFile] for the many small files of a store: open(2), one
// read(2) and close(2) suffice for what fits into buf, whose beginning is
// returned then. A longer file is read into memory of its own.
func ReadFile(path string, buf []byte) ([]byte, error) {
	var fd int
	err := retry(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	var n int
	err = retry(func() (err error) {
		n, err = unix.Read(fd, buf)
		return err
	})
	if err != nil {
		unix.Close(fd) // it was read only
		return nil, &os.PathError{Op: "read", Path: path, Err: err}
	}
	if n < len(buf) {
		unix.Close(fd)
		return buf[:n], nil
	}
	f := os.NewFile(uintptr(fd), path)
	defer f.Close()
	rest, err := io.ReadAll(f)
	return append(buf[:n:n], rest...), err
}
