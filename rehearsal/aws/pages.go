package aws

import (
	"encoding/base64"
	"strconv"
	"strings"
)

// paginate cuts a page out of rows. Tokens are opaque to the client.
func paginate[T any](c *Cloud, req *request, rows []T, ids string) ([]T, string, error) {
	size := len(rows)
	if req.action == "DescribeAddresses" {
		return rows, "", nil // this call has no pages
	}
	if s := req.form.Get("MaxResults"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 5 || n > 1000 {
			return nil, "", fail("InvalidParameterValue", "Value ( %s ) for parameter maxResults is invalid. Expecting a value between 5 and 1000.", s)
		}
		if ids != "" && len(list(req, ids)) > 0 {
			return nil, "", fail("InvalidParameterCombination", "The parameter %ss cannot be used with the parameter maxResults", lowerFirst(ids))
		}
		size = n
	}
	if c.opt.PageSize > 0 && len(list(req, ids)) == 0 {
		size = min(size, c.opt.PageSize)
	}
	return pageOf(rows, size, req.form.Get("NextToken"))
}

func pageOf[T any](rows []T, size int, token string) ([]T, string, error) {
	from := 0
	if token != "" {
		b, err := base64.StdEncoding.DecodeString(token)
		if err == nil {
			from, err = strconv.Atoi(strings.TrimPrefix(string(b), "page:"))
		}
		if err != nil {
			return nil, "", fail("InvalidNextToken", "The token '%s' is invalid", token)
		}
	}
	from = min(from, len(rows))
	end := min(from+size, len(rows))
	if end >= len(rows) {
		return rows[from:], "", nil
	}
	return rows[from:end], base64.StdEncoding.EncodeToString([]byte("page:" + strconv.Itoa(end))), nil
}
