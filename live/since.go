package live

import (
	"fmt"
	"net/http"
	"strconv"
)

// SinceError is a position that is not one. Answer 400 or 422; Param names where it stood.
type SinceError struct {
	Param string // "since" or "Last-Event-ID"
	Value string
}

func (e *SinceError) Error() string {
	return fmt.Sprintf("live: %s must be the number of an event (0 replays all), not %.40q", e.Param, e.Value)
}

// ParseSince reads from which event on a client wants to go on: the header Last-Event-ID, which wins, or the query
// parameter since. ok is false when it gave neither. The error is a *SinceError: the value is not a decimal number
// that fits an int64, or it was given twice. Positions in the future are not an error here; streams answer them with
// a resync event.
func ParseSince(r *http.Request) (since int64, ok bool, err error) {
	param, values := "Last-Event-ID", r.Header.Values("Last-Event-ID")
	if len(values) == 1 && values[0] == "" {
		// What a browser without an id would send, had it not left the header out.
		values = nil
	}
	if len(values) == 0 {
		param, values = "since", r.URL.Query()["since"]
	}
	switch len(values) {
	case 0:
		return 0, false, nil
	case 1:
	default:
		return 0, false, &SinceError{Param: param, Value: fmt.Sprint(values)}
	}
	for _, c := range []byte(values[0]) {
		if c < '0' || c > '9' {
			return 0, false, &SinceError{Param: param, Value: values[0]}
		}
	}
	since, err = strconv.ParseInt(values[0], 10, 64)
	if err != nil {
		return 0, false, &SinceError{Param: param, Value: values[0]}
	}
	return since, true, nil
}
