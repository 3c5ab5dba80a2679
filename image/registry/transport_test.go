package registry

import (
	"errors"
	"net/http"
	"testing"
	"time"
)

func TestRetryAfterIsSecondsOrADate(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"0": 0, "7": 7 * time.Second,
		time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat): 30 * time.Second,
		time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat):       0,
	} {
		resp := &http.Response{StatusCode: http.StatusTooManyRequests, Header: http.Header{"Retry-After": {text}}}
		got, err := policy{}.Retry(0, resp, nil)
		if err != nil || got > want || got < want-2*time.Second {
			t.Errorf("%s: %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"soon", "", "-1", "1e3"} {
		resp := &http.Response{StatusCode: http.StatusServiceUnavailable, Header: http.Header{"Retry-After": {text}}}
		got, err := policy{}.Retry(1, resp, nil)
		if err != nil || got < 2*firstPause || got > 3*firstPause {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	answers := map[int]bool{http.StatusInternalServerError: true, http.StatusNotImplemented: false, http.StatusNotFound: false, http.StatusForbidden: false}
	for status, again := range answers {
		got, err := policy{}.Retry(0, &http.Response{StatusCode: status}, nil)
		if err != nil || (got >= 0) != again {
			t.Errorf("%d: %v, %v", status, got, err)
		}
	}
	if got, _ := (policy{}).Retry(maxAttempts-1, &http.Response{StatusCode: http.StatusBadGateway}, nil); got >= 0 {
		t.Error("asked once more than allowed")
	}
	if got, _ := (policy{}).Retry(0, nil, errors.New("broken")); got >= 0 {
		t.Errorf("an unknown error is asked for again after %v", got)
	}
}
