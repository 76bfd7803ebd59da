// Package labbuilder pins what the lab builds images with, as its tools: BuildKit and its clients.
package labbuilder
