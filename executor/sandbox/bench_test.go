package sandbox_test

import (
	"os"
	"testing"
	"time"

	"builder/executor/sandbox"
)

// BenchmarkStart runs /bin/true in an overlay of ten lower layers.
func BenchmarkStart(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("needs root")
	}
	s, err := sandbox.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	lower := []string{busybox(b)}
	for range 9 {
		lower = append(lower, b.TempDir())
	}
	for _, init := range []bool{false, true} {
		name := "step"
		if init {
			name = "init"
		}
		b.Run(name, func(b *testing.B) {
			best := time.Hour
			for b.Loop() {
				root := sandbox.Root{Lower: lower, Upper: b.TempDir(), Work: b.TempDir(), Writable: true}
				began := time.Now()
				err := s.Run(b.Context(), &sandbox.Spec{Root: root, Args: []string{"/bin/true"}, Init: init})
				if err != nil {
					b.Fatal(err)
				}
				best = min(best, time.Since(began))
			}
			b.ReportMetric(float64(best.Microseconds()), "µs/best")
		})
	}
}
