package main

import (
	"net"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"go.yaml.in/yaml/v3"

	"chunkstream/api"
	"chunkstream/auth"
)

// metricNames gives every metric that a process with Redis can have, those among them that it has not counted yet.
func metricNames(t *testing.T) (names []string) {
	t.Helper()
	var cmds commands
	line, err := kong.New(&cmds, kong.Name("chunkstream"), kong.DefaultEnvars("CHUNKSTREAM"))
	if err == nil {
		_, err = line.Parse([]string{"serve", "--data", t.TempDir(), "--redis", "redis://127.0.0.1:1"})
	}
	if err == nil {
		err = cmds.Serve.backing.check()
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := cmds.Serve.backing.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	var l net.Listener
	if _, err = api.New(api.Config{Store: s.db, Hub: s.hub, Wake: s.wakeLane, Reserve: s.work.Reserve, Publish: s.publish, Gate: auth.Open(), Loopback: true,
		Version: version(), Metrics: s.registry, Parse: parser.Parse, Tokens: tokenEnds, Log: s.log, Ready: s.ready}); err == nil {
		l, err = listen("127.0.0.1:0", s.registry)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	all := make(chan *prometheus.Desc)
	go func() {
		defer close(all)
		s.registry.Describe(all)
	}()
	name := regexp.MustCompile(`fqName: "([^"]+)"`)
	for d := range all {
		names = append(names, name.FindStringSubmatch(d.String())[1])
	}
	return names
}

var metricName = regexp.MustCompile(`\b(chunkstream|process|go)_[a-z_]+[a-z]\b`)

// TestAlarmsNameMetricsThatExist: every metric in docs/operations.md and in the rules for Prometheus is one that a process has; the
// rules have every metric of the page's alarms, and no other.
func TestAlarmsNameMetricsThatExist(t *testing.T) {
	t.Parallel()
	read := repositoryFiles(t)
	page := read("docs/operations.md")
	var rules struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert       string
				Expr        string
				For         string
				Labels      map[string]string
				Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(read("packaging/prometheus/chunkstream.rules.yaml")))
	decoder.KnownFields(true)
	if err := decoder.Decode(&rules); err != nil {
		t.Fatal(err)
	}
	var expressions strings.Builder
	var alerts []string
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if !strings.HasPrefix(r.Alert, "Chunkstream") || slices.Contains(alerts, r.Alert) || r.Annotations["summary"] == "" || r.Labels["severity"] == "" {
				t.Errorf("alert %q lacks a name of its own, a summary or a severity", r.Alert)
			}
			alerts = append(alerts, r.Alert)
			expressions.WriteString(r.Expr + "\n")
		}
	}
	there := metricNames(t)
	for _, text := range []string{page, expressions.String()} {
		for _, name := range metricName.FindAllString(text, -1) {
			if !slices.Contains(there, name) {
				t.Errorf("no process has the metric %s", name)
			}
		}
	}
	_, table, _ := strings.Cut(page, "\n## Alarms\n")
	table, _, _ = strings.Cut(table, "\n## ")
	var rows strings.Builder // the first column of each
	for line := range strings.Lines(table) {
		if cells := strings.Split(line, " | "); strings.HasPrefix(line, "| `") {
			rows.WriteString(cells[0] + "\n")
		}
	}
	for _, pair := range []struct{ has, wants, what string }{
		{rows.String(), expressions.String(), "docs/operations.md has no alarm"}, {expressions.String(), rows.String(), "the rules have no alert"},
	} {
		for _, name := range metricName.FindAllString(pair.wants, -1) {
			if !slices.Contains(metricName.FindAllString(pair.has, -1), name) {
				t.Errorf("%s for %s", pair.what, name)
			}
		}
	}
	if len(alerts) < 20 {
		t.Errorf("%d alerts are read", len(alerts))
	}
}
