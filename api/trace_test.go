package api_test

import (
	"strings"
	"testing"
)

// TestTrace: an operation's events have the trace that its request named, where that is one.
func TestTrace(t *testing.T) {
	t.Parallel()
	s := start(t)
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	for header, want := range map[string]string{
		"00-" + trace + "-00f067aa0ba902b7-01":                   trace,
		"01-" + trace + "-00f067aa0ba902b7-01-more":              trace,
		"00-" + trace + "-00f067aa0ba902b7-01-more":              "",
		"ff-" + trace + "-00f067aa0ba902b7-01":                   "",
		"00-" + trace + "-0000000000000000-01":                   "",
		"00-" + strings.Repeat("0", 32) + "-00f067aa0ba902b7-01": "",
		"00-" + strings.ToUpper(trace) + "-00f067aa0ba902b7-01":  "",
		"00-" + trace[1:] + "-00f067aa0ba902b7-01":               "",
		"nothing": "", "": "",
	} {
		made := s.post("/v1/operations?wait=10", "Some text, "+header, "Traceparent: "+header, "Content-Type: text/plain")
		if made.status/100 != 2 {
			t.Fatalf("got %d: %s", made.status, made.body)
		}
		events := s.get("/v1/operations/" + made.str(t, "id") + "/events")
		if got := strings.Contains(string(events.body), `"trace_id":"`+trace+`"`); got != (want != "") {
			t.Errorf("traceparent %q: the events have the trace: %v", header, got)
		}
	}
}
