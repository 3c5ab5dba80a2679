package snapshot

import (
	"math/bits"
	"time"
)

// After returns the function that moves times between oldest and newest
// (nanoseconds since 1970) so that none is older than born and none later than
// now: their order stays, and their distances where there is room for them.
func After(oldest, newest int64, born, now time.Time) func(int64) int64 {
	from, room := born.UnixNano(), now.Sub(born).Nanoseconds()
	spread := newest - oldest
	return func(t int64) int64 {
		offset := min(max(t, oldest), newest) - oldest
		switch {
		case room <= 0 || offset <= 0:
			return from
		case spread <= room:
			return from + offset
		}
		hi, lo := bits.Mul64(uint64(offset), uint64(room))
		scaled, _ := bits.Div64(hi, lo, uint64(spread))
		return from + int64(scaled)
	}
}
