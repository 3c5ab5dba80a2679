package container

import (
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"builder/internal/sys"
)

// follow gives a terminal the size of the user's whenever that changes, until stop.
func follow(user, terminal *os.File) (stop func()) {
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(signals, unix.SIGWINCH)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			select {
			case <-done:
				return
			case <-signals:
				if rows, columns, ok := sys.WindowSize(user); ok {
					// The terminal may have ended just now.
					_ = unix.IoctlSetWinsize(int(terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: rows, Col: columns})
				}
			}
		}
	}()
	return func() {
		signal.Stop(signals)
		close(done)
		<-ended
	}
}
