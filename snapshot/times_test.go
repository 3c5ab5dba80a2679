package snapshot_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"builder/snapshot"
)

func TestAfterKeepsOrderWithinItsBounds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		oldest := r.Int64N(2e18)
		newest := oldest + r.Int64N(1e18)
		born := time.Unix(0, r.Int64N(2e18))
		now := born.Add(time.Duration(r.Int64N(1e18)))
		move := snapshot.After(oldest, newest, born, now)
		a, b := oldest+r.Int64N(newest-oldest+1), oldest+r.Int64N(newest-oldest+1)
		if a > b {
			a, b = b, a
		}
		ma, mb := move(a), move(b)
		if ma > mb || ma < born.UnixNano() || mb > now.UnixNano() {
			t.Fatalf("After(%d, %d, %d, %d): %d→%d, %d→%d", oldest, newest, born.UnixNano(), now.UnixNano(), a, ma, b, mb)
		}
		if newest-oldest <= now.Sub(born).Nanoseconds() && mb-ma != b-a {
			t.Fatalf("distance %d became %d although there is room", b-a, mb-ma)
		}
	}
}
