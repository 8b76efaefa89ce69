package celery

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// FuzzMessage: whatever lies in the broker's list is a task that can be done or a refusal that Python can read, never
// both; what the task says is what its message says.
func FuzzMessage(f *testing.F) {
	const envelope = `{"body": %s, "content-type": "application/json", "headers": {"task": "app.process_chunking_operation", "id": "1"}, "properties": {}}`
	for _, body := range []string{`[["a","d","recursive",{"chunk_size":100}],{},{}]`, `[[],{"text":"tëxt \\ud83d\\ude00"},{"chain":null}]`,
		`[["a"],{"operation_id":"b"},{}]`, `[[],{"text":"\\ud83d"},{}]`, `[1,2]`} {
		quoted, err := json.Marshal(body)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(strings.Replace(envelope, "%s", string(quoted), 1))
	}
	f.Add(`{"body": "W10=", "properties": {"body_encoding": "base64", "correlation_id": "c"}, "headers": {"eta": "2026-01-02T03:04:05+00:00", "expires": 1}}`)
	f.Add(`{"headers": {"id": 7}}`)
	f.Fuzz(func(t *testing.T, payload string) {
		p := parse(payload)
		if p.wrong == nil {
			if p.task.ID != p.id || (p.task.Text == nil) == (p.task.DocumentID == "") {
				t.Fatalf("a task of %q: %+v", payload, p.task)
			}
			if p.task.Text != nil && !utf8.ValidString(*p.task.Text) {
				t.Fatalf("the text of %q is not UTF-8: %q", payload, *p.task.Text)
			}
			var config map[string]any
			if p.task.Config != nil && json.Unmarshal(p.task.Config, &config) != nil {
				t.Fatalf("the config of %q is no object: %s", payload, p.task.Config)
			}
			return
		}
		var read struct {
			Status, Traceback string
			ID                string `json:"task_id"`
			Result            struct {
				Type    string   `json:"exc_type"`
				Module  string   `json:"exc_module"`
				Message []string `json:"exc_message"`
			}
		}
		told := meta(p.id, failure, p.wrong, time.Unix(0, 0))
		if err := json.Unmarshal([]byte(told), &read); err != nil || read.Status != failure || read.ID != strings.ToValidUTF8(p.id, "\ufffd") ||
			read.Result.Type == "" || read.Result.Module == "" || len(read.Result.Message) != 1 || read.Traceback == "" {
			t.Fatalf("%q is refused with %s, %v", payload, told, err)
		}
	})
}
