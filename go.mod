module github.com/openimds/openimds

go 1.26
