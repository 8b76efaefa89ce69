package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"chunkstream/auth"
	"chunkstream/chunk"
	"chunkstream/event"
	"chunkstream/store"
)

// Configuration is saved settings.
type Configuration struct {
	ID        string     `json:"id" example:"cfg_0199c2f1a4c77d0e9f6b3a5d"`
	Name      string     `json:"name" doc:"Unique among the owner's"`
	Strategy  string     `json:"strategy"`
	Config    object     `json:"config" doc:"The settings, with the defaults filled in"`
	Default   bool       `json:"default" doc:"The one to begin with; at most one is"`
	Version   int64      `json:"version" doc:"From 1, one more with each change; also the ETag"`
	CreatedAt event.Time `json:"created_at"`
	UpdatedAt event.Time `json:"updated_at"`
}

// ConfigurationList is all of an owner's, by name.
type ConfigurationList struct {
	Data []Configuration `json:"data"`
}

// ConfigurationBody is the body of POST and PUT.
type ConfigurationBody struct {
	Name     string `json:"name" minLength:"1" maxLength:"255"`
	Strategy string `json:"strategy,omitempty" default:"recursive"`
	Config   object `json:"config,omitempty" doc:"The strategy's settings, see GET /v1/strategies"`
	Default  bool   `json:"default,omitempty" default:"false"`
}

var configurationsTag = []string{"configurations"}

type (
	configurationsOutput struct {
		Body ConfigurationList
	}
	configurationInput struct {
		ID string `path:"id" doc:"The configuration" example:"cfg_0199c2f1a4c77d0e9f6b3a5d"`
	}
	configurationOutput struct {
		ETag string `header:"ETag"`
		Body Configuration
	}
)

func (a *API) registerSaved() {
	read, write := needs(auth.ConfigurationsRead), needs(auth.ConfigurationsWrite)
	body := &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{"application/json": {
		Schema: schemaOf[ConfigurationBody](a), Example: map[string]any{"name": "for search", "strategy": "recursive", "config": map[string]any{"chunk_size": 500}},
	}}}
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/configurations", OperationID: "listConfigurations", Tags: configurationsTag, Security: read,
		Summary: "List saved settings, by name",
	}, func(ctx context.Context, _ *struct{}) (*configurationsOutput, error) {
		all, err := a.cfg.Store.Configurations(ctx, owner(ctx))
		out := &configurationsOutput{ConfigurationList{[]Configuration{}}}
		for _, c := range all {
			out.Body.Data = append(out.Body.Data, viewOfConfiguration(c))
		}
		return out, err
	})
	a.plain(huma.Operation{
		Method: "POST", Path: "/v1/configurations", OperationID: "createConfiguration", Tags: configurationsTag, Security: write,
		Summary: "Save settings under a name", RequestBody: body,
		Responses: a.responses(http.StatusCreated, "Saved", map[string]*huma.Schema{"application/json": schemaOf[Configuration](a)}),
	}, a.saveConfiguration)
	typed(a, huma.Operation{
		Method: "GET", Path: "/v1/configurations/{id}", OperationID: "getConfiguration", Tags: configurationsTag, Security: read,
		Summary: "Get saved settings",
	}, func(ctx context.Context, in *configurationInput) (*configurationOutput, error) {
		if !validID("cfg_", in.ID) {
			return nil, noConfiguration()
		}
		c, err := a.cfg.Store.Configuration(ctx, owner(ctx), in.ID)
		if err != nil {
			return nil, orNotFound(err, noConfiguration)
		}
		return &configurationOutput{versionTag(c.Version), viewOfConfiguration(c)}, nil
	})
	a.plain(huma.Operation{
		Method: "PUT", Path: "/v1/configurations/{id}", OperationID: "replaceConfiguration", Tags: configurationsTag, Security: write,
		Summary:     "Change saved settings",
		Description: "If-Match, with the ETag of what was read, is needed: a change by somebody else in between is not overwritten but refused.",
		Parameters: []*huma.Param{inPath("id", "The configuration"), {Name: "If-Match", In: "header", Schema: str(),
			Description: "The ETag, which is the version in quotes"}},
		RequestBody: body,
		Responses:   a.responses(http.StatusOK, "Changed", map[string]*huma.Schema{"application/json": schemaOf[Configuration](a)}),
	}, a.saveConfiguration)
	typed(a, huma.Operation{
		Method: "DELETE", Path: "/v1/configurations/{id}", OperationID: "deleteConfiguration", Tags: configurationsTag, Security: write,
		Summary: "Delete saved settings",
	}, func(ctx context.Context, in *configurationInput) (*struct{}, error) {
		if !validID("cfg_", in.ID) {
			return nil, noConfiguration()
		}
		return nil, orNotFound(a.cfg.Store.DeleteConfiguration(ctx, owner(ctx), in.ID), noConfiguration)
	})
}

// UsedConfiguration is a saved configuration as it was when it was used.
type UsedConfiguration struct {
	ID      string `json:"id" example:"cfg_0199c2f1a4c77d0e9f6b3a5d"`
	Name    string `json:"name"`
	Version int64  `json:"version" doc:"The one that was used; it may have changed since"`
}

func viewOfUsed(c store.UsedConfiguration) *UsedConfiguration {
	if c == (store.UsedConfiguration{}) {
		return nil
	}
	return &UsedConfiguration{c.ID, c.Name, c.Version}
}

// saved gives the plan of a saved configuration, which the request names by its id or its name.
func (a *API) saved(ctx context.Context, idOrName string) (chunk.Plan, store.UsedConfiguration, error) {
	var used store.UsedConfiguration
	if !principal(ctx).May(auth.ConfigurationsRead) {
		return chunk.Plan{}, used, lacks(auth.ConfigurationsRead)
	}
	missing := func() error {
		return problem("not_found", "configuration", "there is no configuration with that id or name here").
			suggest("look it up with GET /v1/configurations")
	}
	if idOrName == "" {
		return chunk.Plan{}, used, missing()
	}
	c, err := a.cfg.Store.ConfigurationNamed(ctx, owner(ctx), idOrName)
	if err != nil {
		return chunk.Plan{}, used, orNotFound(err, missing)
	}
	plan, err := a.plans.get(c.Strategy, c.Settings)
	if err != nil {
		return chunk.Plan{}, used, problem("invalid_value", "configuration", "the configuration cannot be used any more: %s", problemOf(err).Detail).
			suggest("correct it with PUT /v1/configurations/" + used.ID)
	}
	return plan, store.UsedConfiguration{ID: c.ID, Name: c.Name, Version: c.Version}, nil
}

// both refuses settings beside a saved configuration.
func both(name string) error {
	return problem("invalid_value", name, "give either configuration, or strategy and its settings, not both").suggest("send one of the two")
}

func noConfiguration() error { return missing("configuration", "/v1/configurations") }

func versionTag(version int64) string { return `"` + strconv.FormatInt(version, 10) + `"` }

func viewOfConfiguration(c store.Configuration) Configuration {
	return Configuration{c.ID, c.Name, c.Strategy, object(c.Settings), c.Default, c.Version, event.Time{Time: c.CreatedAt}, event.Time{Time: c.UpdatedAt}}
}

// saveConfiguration makes one, or changes the one that the path names.
func (a *API) saveConfiguration(w http.ResponseWriter, r *http.Request) error {
	ctx := r.Context()
	c := store.Configuration{ID: r.PathValue("id"), Owner: owner(ctx)}
	if c.ID != "" {
		// Looked at first: what is not there is not found, whatever is sent.
		if !validID("cfg_", c.ID) {
			return noConfiguration()
		}
		if _, err := a.cfg.Store.Configuration(ctx, c.Owner, c.ID); err != nil {
			return orNotFound(err, noConfiguration)
		}
		tag := r.Header.Get("If-Match")
		version, err := strconv.ParseInt(unquoted(tag), 10, 64)
		if err != nil || versionTag(version) != tag || len(r.Header["If-Match"]) != 1 {
			return problem("missing_field", "If-Match", `the header If-Match must have the ETag of what is to be changed, such as "3"`).
				suggest("send the ETag of GET as If-Match")
		}
		c.Version = version
	}
	f, err := a.readJSON(w, r, maxBody, "name", "strategy", "config", "default")
	if err != nil {
		return err
	}
	if err := f.needs("name"); err != nil {
		return err
	}
	if c.Name, err = f.text("name"); err != nil {
		return err
	}
	if c.Name == "" {
		return f.wrong("name", "1 to 255 characters")
	}
	if err := checkName(c.Name); err != nil {
		return err
	}
	if c.Default, err = f.boolean("default", false); err != nil {
		return err
	}
	plan, _, err := a.choice(ctx, f)
	if err != nil {
		return err
	}
	c.Strategy, c.Settings = plan.Strategy, plan.Settings
	saved, err := a.cfg.Store.SaveConfiguration(ctx, c)
	switch {
	case errors.Is(err, store.ErrExists):
		return problem("name_taken", "name", "there is a configuration with that name already")
	case errors.Is(err, store.ErrChanged):
		return problem("changed_meanwhile", "If-Match", "it was changed meanwhile")
	case errors.Is(err, store.ErrTooMany):
		return problem("quota_exceeded", "", "there are %d configurations already", store.MaxConfigurations).suggest("delete some first")
	case err != nil:
		return orNotFound(err, noConfiguration)
	}
	w.Header().Set("Etag", versionTag(saved.Version))
	status := http.StatusOK
	if c.ID == "" {
		status = http.StatusCreated
		w.Header().Set("Location", "/v1/configurations/"+saved.ID)
	}
	writeJSON(w, status, viewOfConfiguration(saved))
	return nil
}

func unquoted(tag string) string {
	if len(tag) >= 2 && tag[0] == '"' && tag[len(tag)-1] == '"' {
		return tag[1 : len(tag)-1]
	}
	return ""
}
