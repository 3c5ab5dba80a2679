package network

import (
	"os"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"
)

// thread is one thread of this process for work that changes its network
// namespace. It never ends: a thread may have started a step before it was taken for
// this, and a step is killed when the thread ends that started it (PR_SET_PDEATHSIG).
// The zero thread is ready.
type thread struct {
	begin sync.Once
	jobs  chan func()
	done  chan struct{}
}

// do calls f on the thread and returns when it has returned.
func (t *thread) do(f func()) {
	t.begin.Do(func() {
		t.jobs, t.done = make(chan func()), make(chan struct{})
		started := make(chan struct{})
		go t.run(started)
		<-started
	})
	t.jobs <- f
	<-t.done
}

// close lets the thread go. Nobody calls do any more.
func (t *thread) close() {
	if t.jobs != nil {
		close(t.jobs)
		<-t.done
	}
}

func (t *thread) run(started chan struct{}) {
	runtime.LockOSThread()
	if unix.Gettid() == unix.Getpid() {
		// The main thread's namespace is what /proc/self shows of the process.
		go t.run(started)
		<-started
		runtime.UnlockOSThread()
		return
	}
	home, err := os.Open("/proc/thread-self/ns/net")
	close(started)
	away := false
	for f := range t.jobs {
		f()
		away = err != nil || unix.Setns(int(home.Fd()), unix.CLONE_NEWNET) != nil
		t.done <- struct{}{}
	}
	if err == nil {
		_ = home.Close() // read only
	}
	close(t.done)
	if away {
		// To go back would need a right over the machine's namespace. Nothing else may
		// run on this thread, and it may not end.
		select {}
	}
	runtime.UnlockOSThread()
}
