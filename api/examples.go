package api

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// What a service has answered, by operationId and media type; times, ids and what is measured are made the same, and long
// lists are cut. TestAnswerExamples asks again, compares, and writes it anew with -update.
//
//go:embed examples.json
var answerExamples []byte

// describeAnswers gives the good answer of every operation the example that there is of it.
func describeAnswers(doc *huma.OpenAPI) error {
	var all map[string]map[string]json.RawMessage
	if err := json.Unmarshal(answerExamples, &all); err != nil {
		return fmt.Errorf("read the examples: %w", err)
	}
	for _, item := range doc.Paths {
		for _, op := range []*huma.Operation{item.Get, item.Post, item.Put, item.Delete} {
			if op == nil {
				continue
			}
			for status, answer := range op.Responses {
				for media, one := range answer.Content {
					if example := all[op.OperationID][media]; example != nil && (strings.HasPrefix(status, "2") || status == "101") {
						one.Example = example
					}
				}
			}
		}
	}
	return nil
}
