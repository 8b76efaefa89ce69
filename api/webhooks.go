package api

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"chunkstream/auth"
	"chunkstream/event"
	"chunkstream/store"
	"chunkstream/webhook"
)

// secretOverlap is how long the secret before a rotation signs too.
const secretOverlap = 24 * time.Hour

// Webhook is an address that is told when operations end.
type Webhook struct {
	ID        string     `json:"id" example:"whk_0199c2f1a4c77d0e9f6b3a5d"`
	Name      string     `json:"name" doc:"For people; may be empty"`
	URL       string     `json:"url"`
	Events    []string   `json:"events" doc:"What it is told of: completed, failed, cancelled"`
	All       bool       `json:"all" doc:"It is told of every operation; otherwise of those that name it"`
	CreatedAt event.Time `json:"created_at"`

	FormerSecretUntil *event.Time `json:"former_secret_until" doc:"Until then the secret before the last rotation signs too"`
}

// WebhookWithSecret is a webhook as the answer to its making and its rotation shows it.
type WebhookWithSecret struct {
	Webhook
	Secret string `json:"secret" doc:"Shown this once: what deliveries are signed with"`
}

// WebhookBody is the body of POST /v1/webhooks.
type WebhookBody struct {
	URL    string   `json:"url" format:"uri" maxLength:"2048" doc:"https, and an address of the public Internet"`
	Name   string   `json:"name,omitempty" maxLength:"255"`
	Events []string `json:"events,omitempty" minItems:"1" maxItems:"3" doc:"completed, failed, cancelled; all three when left out"`
	All    bool     `json:"all,omitempty" default:"true" doc:"false: only of operations that name it in webhook"`
}

// WebhookList is all of an owner's, oldest first.
type WebhookList struct {
	Data []Webhook `json:"data"`
}

// Delivery is the telling of one webhook of one operation's end.
type Delivery struct {
	ID            string      `json:"id" doc:"webhook-id, the same at every attempt"`
	OperationID   string      `json:"operation_id"`
	State         string      `json:"state" enum:"pending,delivered,dead" doc:"dead: given up after 24 hours, or the receiver answered 410"`
	Attempts      int64       `json:"attempts"`
	Status        int         `json:"status" doc:"HTTP status of the last answer; 0: there was none"`
	Error         string      `json:"error" doc:"Why the last attempt failed, in words"`
	CreatedAt     event.Time  `json:"created_at"`
	NextAttemptAt *event.Time `json:"next_attempt_at" doc:"While it is pending"`
	EndedAt       *event.Time `json:"ended_at"`
}

// DeliveryPage is one page of a webhook's deliveries, newest first.
type DeliveryPage struct {
	Data       []Delivery `json:"data"`
	HasMore    bool       `json:"has_more"`
	NextCursor string     `json:"next_cursor" doc:"Empty on the last page"`
}

// Redelivered is the answer to a request to try dead deliveries again.
type Redelivered struct {
	Redelivered int64 `json:"redelivered" doc:"How many are tried again"`
}

var webhooksTag = []string{"webhooks"}

type (
	webhookInput struct {
		ID string `path:"id" doc:"The webhook" example:"whk_0199c2f1a4c77d0e9f6b3a5d"`
	}
	webhookOutput     struct{ Body Webhook }
	webhooksOutput    struct{ Body WebhookList }
	redeliveredOutput struct{ Body Redelivered }
	deliveriesInput   struct {
		ID     string `path:"id" doc:"The webhook" example:"whk_0199c2f1a4c77d0e9f6b3a5d"`
		State  string `query:"state" enum:"pending,delivered,dead" doc:"Only these"`
		Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50" doc:"How many at most"`
		Cursor string `query:"cursor" doc:"next_cursor of the page before"`
	}
	deliveriesOutput struct{ Body DeliveryPage }
)

func (a *API) registerWebhooks() {
	// Whoever makes one lets an address outside learn of operations: that is reading them, and more.
	read, write := needs(auth.OperationsRead), needs(auth.OperationsRead|auth.OperationsWrite)
	made := func(status int, doc string) map[string]*huma.Response {
		return a.responses(status, doc, map[string]*huma.Schema{"application/json": schemaOf[WebhookWithSecret](a)})
	}
	a.plain(huma.Operation{
		Method: "POST", Path: "/v1/webhooks", OperationID: "createWebhook", Tags: webhooksTag, Security: write,
		Summary: "Have an address told when operations end",
		Description: "Deliveries are signed as Standard Webhooks 1.0 says, made at least once, and tried for 24 hours. The address must " +
			"be https and of the public Internet, unless the operator allows more; redirects are not followed.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {
			Schema: schemaOf[WebhookBody](a), Example: map[string]any{"url": "https://hooks.example.com/chunkstream", "events": []any{"completed", "failed"}},
		}}},
		Responses: made(http.StatusCreated, "Made; its secret is shown this once"),
	}, a.createWebhook)
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/webhooks", OperationID: "listWebhooks", Tags: webhooksTag, Security: read, Summary: "List webhooks",
	}, func(ctx context.Context, _ *struct{}) (*webhooksOutput, error) {
		all, err := a.cfg.Store.Webhooks(ctx, owner(ctx))
		out := &webhooksOutput{WebhookList{[]Webhook{}}}
		for _, w := range all {
			out.Body.Data = append(out.Body.Data, viewOfWebhook(w))
		}
		return out, err
	})
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/webhooks/{id}", OperationID: "getWebhook", Tags: webhooksTag, Security: read, Summary: "Get a webhook",
	}, func(ctx context.Context, in *webhookInput) (*webhookOutput, error) {
		w, err := a.webhook(ctx, in.ID)
		return &webhookOutput{viewOfWebhook(w)}, err
	})
	a.plain(huma.Operation{
		Method: "POST", Path: "/v1/webhooks/{id}/rotate", OperationID: "rotateWebhook", Tags: webhooksTag, Security: write,
		Summary:     "Give a webhook a new secret",
		Description: "For 24 hours deliveries are signed with both, the new one first, so that the receiver can change over.",
		Parameters:  []*huma.Param{inPath("id", "The webhook")},
		Responses:   made(http.StatusOK, "The new secret is shown this once"),
	}, a.rotateWebhook)
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/webhooks/{id}/deliveries", OperationID: "listDeliveries", Tags: webhooksTag, Security: read,
		Summary: "List a webhook's deliveries, newest first", Description: "Those that have ended are kept for 7 days.",
	}, a.deliveries)
	typed(a, huma.Operation{
		Method: "POST", Path: "/v1/webhooks/{id}/redeliver", OperationID: "redeliver", Tags: webhooksTag, Security: write,
		Summary: "Try a webhook's dead deliveries again, for another 24 hours",
	}, func(ctx context.Context, in *webhookInput) (*redeliveredOutput, error) {
		if !validID("whk_", in.ID) {
			return nil, noWebhook()
		}
		n, err := a.cfg.Store.Redeliver(ctx, owner(ctx), in.ID)
		return &redeliveredOutput{Redelivered{n}}, orNoWebhook(err)
	})
	typed(a, huma.Operation{
		Method: "DELETE", Path: "/v1/webhooks/{id}", OperationID: "deleteWebhook", Tags: webhooksTag, Security: write,
		Summary: "Delete a webhook and its deliveries",
	}, func(ctx context.Context, in *webhookInput) (*struct{}, error) {
		if !validID("whk_", in.ID) {
			return nil, noWebhook()
		}
		return nil, orNoWebhook(a.cfg.Store.DeleteWebhook(ctx, owner(ctx), in.ID))
	})
}

func noWebhook() error            { return missing("webhook", "/v1/webhooks") }
func orNoWebhook(err error) error { return orNotFound(err, noWebhook) }

func (a *API) webhook(ctx context.Context, id string) (store.Webhook, error) {
	if !validID("whk_", id) {
		return store.Webhook{}, noWebhook()
	}
	w, err := a.cfg.Store.Webhook(ctx, owner(ctx), id)
	return w, orNoWebhook(err)
}

func viewOfWebhook(w store.Webhook) Webhook {
	v := Webhook{ID: w.ID, Name: w.Name, URL: w.URL, Events: []string{}, All: w.Everything, CreatedAt: event.Time{Time: w.CreatedAt},
		FormerSecretUntil: instant(w.FormerUntil)}
	for _, one := range w.Events {
		v.Events = append(v.Events, string(one))
	}
	return v
}

var webhookEvents = []event.Type{event.Completed, event.Failed, event.Cancelled}

func (a *API) createWebhook(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	f, err := a.readJSON(w, r, maxBody, "url", "name", "events", "all")
	if err != nil {
		return err
	}
	if err := f.needs("url"); err != nil {
		return err
	}
	n := store.NewWebhook{Owner: owner(ctx), Secret: webhook.NewSecret(), Events: webhookEvents}
	if n.URL, err = f.text("url"); err != nil {
		return err
	}
	if err := a.cfg.Webhooks.CheckURL(n.URL); err != nil {
		return problem("invalid_value", "url", "%s", err).suggest("give an address such as https://example.com/hook, of a host that may be reached")
	}
	if n.Name, err = f.text("name"); err != nil {
		return err
	}
	if err := checkName(n.Name); err != nil {
		return err
	}
	if n.Everything, err = f.boolean("all", true); err != nil {
		return err
	}
	if f.has("events") {
		wanted, err := f.texts("events", 1, len(webhookEvents))
		if err != nil {
			return err
		}
		n.Events = nil
		seen := map[string]bool{}
		for _, one := range wanted {
			if t := event.Type(one); !t.Terminal() || seen[one] {
				return f.wrong("events", "completed, failed or cancelled, each once")
			}
			seen[one] = true
			n.Events = append(n.Events, event.Type(one))
		}
	}
	made, err := a.cfg.Store.CreateWebhook(ctx, n)
	if errors.Is(err, store.ErrTooMany) {
		return problem("quota_exceeded", "", "there are %d webhooks already", store.MaxWebhooks).suggest("delete some first")
	}
	if err != nil {
		return err
	}
	w.Header().Set("Location", "/v1/webhooks/"+made.ID)
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusCreated, WebhookWithSecret{viewOfWebhook(made), n.Secret.Reveal()})
	return nil
}

func (a *API) rotateWebhook(w http.ResponseWriter, r *http.Request) error {
	ctx, id, secret := r.Context(), r.PathValue("id"), webhook.NewSecret()
	if !validID("whk_", id) {
		return noWebhook()
	}
	now, err := a.cfg.Store.RotateWebhook(ctx, owner(ctx), id, secret, secretOverlap)
	if err != nil {
		return orNoWebhook(err)
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, WebhookWithSecret{viewOfWebhook(now), secret.Reveal()})
	return nil
}

func (a *API) deliveries(ctx context.Context, in *deliveriesInput) (*deliveriesOutput, error) {
	if _, err := a.webhook(ctx, in.ID); err != nil {
		return nil, err
	}
	before := ""
	if in.Cursor != "" {
		var ok bool
		if before, ok = openCursor("deliveries "+in.ID, in.Cursor); !ok {
			return nil, badCursor()
		}
	}
	all, err := a.cfg.Store.Deliveries(ctx, owner(ctx), in.ID, store.DeliveryState(in.State), before, in.Limit+1)
	if err != nil {
		return nil, orNotFound(err, badCursor)
	}
	page := DeliveryPage{Data: []Delivery{}}
	if page.HasMore = len(all) > in.Limit; page.HasMore {
		all = all[:in.Limit]
		page.NextCursor = cursor("deliveries "+in.ID, all[in.Limit-1].ID)
	}
	for _, d := range all {
		page.Data = append(page.Data, Delivery{d.ID, d.OperationID, string(d.State), d.Attempts, d.Status, d.Error,
			event.Time{Time: d.CreatedAt}, instant(d.DueAt), instant(d.EndedAt)})
	}
	return &deliveriesOutput{page}, nil
}

// hook checks the webhook that a submission names.
func (a *API) hook(ctx context.Context, id string) error {
	_, err := a.webhook(ctx, id)
	return orNotFound(err, func() error {
		return problem("not_found", "webhook", "there is no such webhook here").suggest("look it up with GET /v1/webhooks")
	})
}
