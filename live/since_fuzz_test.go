package live_test

import (
	"errors"
	"math/big"
	"net/http"
	"net/url"
	"testing"

	"chunkstream/live"
)

// FuzzSince: a position is a whole number of digits that fits, from the header before the query, or an error that says
// which of them is wrong and that it was there.
func FuzzSince(f *testing.F) {
	f.Add("", "since=5", false)
	f.Add("9223372036854775807", "", true)
	f.Add("9223372036854775808", "since=1", true)
	f.Add("+1", "since=%31&since=2", true)
	f.Add("", "since=-0&a=;", true)
	f.Fuzz(func(t *testing.T, last, query string, header bool) {
		r := &http.Request{Header: http.Header{}, URL: &url.URL{RawQuery: query}}
		if header {
			r.Header.Set("Last-Event-ID", last)
		}
		given, param := r.URL.Query()["since"], "since"
		if header && last != "" {
			given, param = []string{last}, "Last-Event-ID"
		}
		since, ok, err := live.ParseSince(r)
		want, fits := int64(0), false
		if len(given) == 1 {
			digits := given[0] != ""
			for _, c := range given[0] {
				digits = digits && c >= '0' && c <= '9'
			}
			if n, isNumber := new(big.Int).SetString(given[0], 10); digits && isNumber && n.IsInt64() {
				want, fits = n.Int64(), true
			}
		}
		var wrong *live.SinceError
		switch {
		case len(given) == 0 && (ok || err != nil):
			t.Fatalf("nothing was given, and %d, %v came of it", since, err)
		case len(given) == 0:
		case fits && (err != nil || !ok || since != want):
			t.Fatalf("%q is %d, %v, %v", given, since, ok, err)
		case !fits && (ok || !errors.As(err, &wrong) || wrong.Param != param):
			t.Fatalf("%q is %d, %v, %v; want an error about %s", given, since, ok, err, param)
		}
	})
}
