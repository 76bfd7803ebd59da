// Package labagent pins the agent that the lab builds: `go build github.com/buildkite/agent/v3`.
package labagent

import (
	_ "github.com/buildkite/agent/v3/version"
	_ "github.com/buildkite/agent/v3/clicommand"
	_ "github.com/urfave/cli"
)
