// Package zzglob stands in for drjosh.dev/zzglob, which not every module proxy serves, so that the
// lab can build a real buildkite-agent. It has the part of the interface that the agent uses, on
// top of doublestar; only artifact and if_changed globs of the lab's agent come through here.
package zzglob

import (
	"context"
	"io/fs"
	"os"

	"github.com/bmatcuk/doublestar/v4"
)

// Pattern is a parsed glob.
type Pattern struct{ text string }

// ParseOption is accepted and has no effect here.
type ParseOption func()

// GlobOption configures one walk.
type GlobOption func(*walk)

type walk struct{ followSymlinks bool }

// ExpandTilde is accepted: a tilde is always literal here.
func ExpandTilde(bool) ParseOption { return func() {} }

// WalkIntermediateDirs is accepted: only matches are visited here.
func WalkIntermediateDirs(bool) GlobOption { return func(*walk) {} }

// TraverseSymlinks says whether directories behind links are entered.
func TraverseSymlinks(follow bool) GlobOption {
	return func(w *walk) { w.followSymlinks = follow }
}

// Parse checks a pattern.
func Parse(text string, _ ...ParseOption) (*Pattern, error) {
	if !doublestar.ValidatePattern(text) {
		return nil, doublestar.ErrBadPattern
	}
	return &Pattern{text: text}, nil
}

// Match reports whether the whole path matches.
func (p *Pattern) Match(path string) bool {
	return doublestar.MatchUnvalidated(p.text, path)
}

// Glob calls visit for every match.
func (p *Pattern) Glob(visit fs.WalkDirFunc, options ...GlobOption) error {
	return MultiGlob(context.Background(), []*Pattern{p}, visit, options...)
}

// MultiGlob calls visit for every match of every pattern, each path once.
func MultiGlob(ctx context.Context, patterns []*Pattern, visit fs.WalkDirFunc, options ...GlobOption) error {
	var w walk
	for _, option := range options {
		option(&w)
	}
	var how []doublestar.GlobOption
	if !w.followSymlinks {
		how = append(how, doublestar.WithNoFollow())
	}
	seen := map[string]bool{}
	for _, pattern := range patterns {
		matches, err := doublestar.FilepathGlob(pattern.text, how...)
		if err != nil {
			return err
		}
		for _, match := range matches {
			if seen[match] || ctx.Err() != nil {
				continue
			}
			seen[match] = true
			info, err := os.Lstat(match)
			var entry fs.DirEntry
			if err == nil {
				entry = fs.FileInfoToDirEntry(info)
			}
			if err := visit(match, entry, err); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}
