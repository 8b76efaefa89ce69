package secret_test

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"chunkstream/secret"
)

// TestNothingPrints: no verb, no logger and no encoder shows the text, wherever it stands.
func TestNothingPrints(t *testing.T) {
	hush := secret.New("hush-hush")
	type inner struct {
		Seen   secret.Text
		hidden secret.Text
	}
	in := inner{hush, hush}
	values := []any{
		hush, &hush, in, &in, []secret.Text{hush}, [1]secret.Text{hush}, map[string]any{"k": hush}, map[string]inner{"k": in},
		struct{ any }{hush}, struct{ in *inner }{&in}, []any{in, &in}, fmt.Errorf("refused: %w, %v", errors.New("no"), hush),
	}
	var all strings.Builder
	for _, v := range values {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%T", "%t", "%p", "%w", "%c", "%U"} {
			fmt.Fprintf(&all, verb+"\n", v)
		}
		fmt.Fprintln(&all, v)
		for _, log := range []*slog.Logger{slog.New(slog.NewJSONHandler(&all, nil)), slog.New(slog.NewTextHandler(&all, nil))} {
			log.Info("m", "v", v, slog.Group("g", slog.Any("v", v)))
		}
		if b, err := json.Marshal(v); err == nil {
			all.Write(b)
		}
		if b, err := xml.Marshal(v); err == nil {
			all.Write(b)
		}
	}
	b, err := yaml.Marshal(map[string]any{"seen": hush, "in": in.Seen})
	if err != nil {
		t.Fatal(err)
	}
	all.Write(b)
	func() {
		defer func() { fmt.Fprint(&all, recover()) }()
		panic(in)
	}()
	got := all.String()
	for _, form := range []string{"hush", "68757368", "aHVzaC1", "104 117 115"} {
		if strings.Contains(strings.ToLower(got), strings.ToLower(form)) {
			t.Errorf("the secret printed as %s:\n%s", form, got)
		}
	}
	if !strings.Contains(got, "***") {
		t.Error("nothing was printed at all")
	}
	if got := fmt.Sprintf("%s|%v|%v", secret.Text{}, hush, in.hidden.Reveal()); got != "|***|hush-hush" {
		t.Errorf("got %q", got)
	}
}

func TestText(t *testing.T) {
	if none := secret.New(""); !none.Empty() || none.Reveal() != "" || none.String() != "" {
		t.Errorf("none: %v", none)
	}
	var read secret.Text
	if err := json.Unmarshal([]byte(`"from a file"`), &read); err != nil || read.Reveal() != "from a file" || read.Empty() {
		t.Errorf("read: %v, %q", err, read.Reveal())
	}
}

func TestPlace(t *testing.T) {
	for url, want := range map[string]string{
		"postgres://u:hush@h:5432/d?sslmode=disable":  "postgres://u:***@h:5432/d",
		"postgres://u@h/d?password=hush":              "postgres://u@h/d",
		"postgres:///d?host=/run&password=hush":       "postgres:///d",
		"redis://:hush@h:6379/0":                      "redis://:***@h:6379/0",
		"redis://u:hu@sh/hu@h":                        "redis://u:***@h",
		"redis+sentinel://u:hush@a:1,b:2/main":        "redis+sentinel://u:***@a:1,b:2/main",
		"redis://h#hush":                              "redis://h",
		"host=h user=u password=hush":                 "***",
		"host=h password=hush options=http://x":       "***",
		"hush":                                        "***",
		"":                                            "",
		"user:hush@h://x":                             "***",
		"postgres://u:%68ush@h/d":                     "postgres://u:***@h/d",
		"unix://:hush@/run/redis.sock?db=2":           "unix://:***@/run/redis.sock",
		"postgres://u:hush/with?question#hash@h:5/db": "postgres://***",
		"postgres://u:hu@sh?question@h/db":            "postgres://***",
	} {
		got := secret.New(url).Place()
		if got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
}
