package config

// Route is where a request for a public model name goes.
type Route struct {
	// Upstream is the upstream that serves the model.
	Upstream *Upstream
	// Model is the model's name at the upstream.
	Model string
}
