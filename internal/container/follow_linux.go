package container

import (
	"context"
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Follow shows what is written to the log until the container has ended, or ctx
// does.
func (c *Container) Follow(ctx context.Context, r *LogReader) (err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("inotify_init", err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	if _, err := unix.InotifyAddWatch(fd, c.LogPath(), unix.IN_MODIFY); err != nil {
		return errors.Join(os.NewSyscallError("inotify_add_watch", err), events.Close())
	}
	ended := make(chan error, 1)
	go func() {
		_, err := c.Wait(ctx)
		ended <- err
		_ = events.Close() // which ends the loop below; nobody else reads its errors
	}()
	buf := make([]byte, 4096)
	for {
		if err := r.Copy(); err != nil {
			_ = events.Close()
			return err
		}
		if _, err := events.Read(buf); err != nil {
			break
		}
	}
	return errors.Join(<-ended, r.Copy())
}
