// Package clients uses the client that oapi-codegen makes of the description against a real server. It is a module of its
// own: nothing of it is part of the program.
package clients

import (
	"os"
	"testing"
)

// TestGeneratedClient submits a document and reads its chunks.
func TestGeneratedClient(t *testing.T) {
	client, err := NewClientWithResponses(os.Getenv("CHUNKSTREAM_URL"))
	if err != nil {
		t.Fatal(err)
	}
	text, wait := "One sentence. Another one.", 30
	params := &SubmitOperationParams{Wait: &wait}
	made, err := client.SubmitOperationWithResponse(t.Context(), params, SubmitOperationJSONRequestBody{Text: &text})
	if err != nil || made.JSON202 == nil || made.JSON202.Status != "completed" {
		t.Fatalf("submit: %v %+v", err, made)
	}
	page, err := client.ListChunksWithResponse(t.Context(), made.JSON202.Id, &ListChunksParams{})
	if err != nil || page.JSON200 == nil || page.JSON200.Data == nil || len(*page.JSON200.Data) == 0 || *(*page.JSON200.Data)[0].Text != text {
		t.Fatalf("chunks: %v %s", err, page.Body)
	}
	missing, err := client.GetOperationWithResponse(t.Context(), "op_0", &GetOperationParams{})
	if err != nil || missing.ApplicationproblemJSON404 == nil || missing.ApplicationproblemJSON404.Code != "not_found" {
		t.Fatalf("missing: %v %s", err, missing.Body)
	}
}
