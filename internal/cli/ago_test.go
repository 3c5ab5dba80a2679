package cli

import (
	"testing"
	"time"
)

// The words and the limits are docker's.
func TestAgo(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	for d, want := range map[time.Duration]string{
		0:                       "Less than a second ago",
		1500 * time.Millisecond: "1 second ago",
		59 * time.Second:        "59 seconds ago",
		90 * time.Second:        "About a minute ago",
		59 * time.Minute:        "59 minutes ago",
		89 * time.Minute:        "About an hour ago",
		91 * time.Minute:        "2 hours ago",
		47 * hour:               "47 hours ago",
		49 * hour:               "2 days ago",
		13*day + 20*hour:        "13 days ago",
		14*day + hour:           "2 weeks ago",
		60*day + hour:           "2 months ago",
		729 * day:               "24 months ago",
		730*day + hour:          "2 years ago",
	} {
		if got := ago(time.Now().Add(-d)); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}
