package release

const (
	version = "development"
	commit  = ""
)
