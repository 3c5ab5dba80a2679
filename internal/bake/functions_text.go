package bake

import (
	"crypto/md5"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	"github.com/hashicorp/hcl/v2/ext/typeexpr"
	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/function"
	"github.com/zclconf/go-cty/cty/function/stdlib"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/crypto/ssh"
)

var (
	base64encode = ofTexts([]string{"text"}, func(a []string) (string, error) { return base64.StdEncoding.EncodeToString([]byte(a[0])), nil })
	base64decode = ofTexts([]string{"text"}, func(a []string) (string, error) {
		data, err := base64.StdEncoding.DecodeString(a[0])
		return string(data), err
	})
	basename  = ofTexts([]string{"path"}, func(a []string) (string, error) { return path.Base(a[0]), nil })
	dirname   = ofTexts([]string{"path"}, func(a []string) (string, error) { return path.Dir(a[0]), nil })
	homedir   = ofTexts(nil, func([]string) (string, error) { return os.UserHomeDir() })
	urlencode = ofTexts([]string{"text"}, func(a []string) (string, error) { return url.QueryEscape(a[0]), nil })
	timestamp = ofTexts(nil, func([]string) (string, error) { return time.Now().UTC().Format(time.RFC3339), nil })
	sanitize  = ofTexts([]string{"name"}, func(a []string) (string, error) { return unfit().ReplaceAllString(a[0], "_"), nil })
	uuidv4    = ofTexts(nil, func([]string) (string, error) {
		b := make([]byte, 16)
		_, err := rand.Read(b)
		return uuid(b, 4), err
	})
	uuidv5     = ofTexts([]string{"namespace", "name"}, newUUIDv5)
	bcryptFunc = function.New(&function.Spec{
		Params:   []function.Parameter{{Name: "text", Type: cty.String}},
		VarParam: &function.Parameter{Name: "cost", Type: cty.Number},
		Type:     function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			cost := bcrypt.DefaultCost
			if len(args) > 1 {
				n, _ := args[1].AsBigFloat().Int64()
				cost = int(n)
			}
			if cost > maxCost {
				return cty.NilVal, fmt.Errorf("a cost of more than %d takes minutes", maxCost)
			}
			b, err := bcrypt.GenerateFromPassword([]byte(args[0].AsString()), cost)
			return cty.StringVal(string(b)), err
		},
	})
	rsadecrypt = ofTexts([]string{"ciphertext", "key"}, func(a []string) (string, error) {
		data, err := base64.StdEncoding.DecodeString(a[0])
		if err != nil {
			return "", errors.New("the text is not base64")
		}
		raw, err := ssh.ParseRawPrivateKey([]byte(a[1]))
		if err != nil {
			return "", err
		}
		key, ok := raw.(*rsa.PrivateKey)
		if !ok {
			return "", errors.New("the key is not of RSA")
		}
		//lint:ignore SA1019 this is what the function is defined to do, on texts of the user's own
		b, err := rsa.DecryptPKCS1v15(nil, key, data)
		return string(b), err
	})
	// indexof is where a value is in a list.
	indexof = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "list", Type: cty.DynamicPseudoType}, {Name: "value", Type: cty.DynamicPseudoType}},
		Type:   function.StaticReturnType(cty.Number),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			all, err := elements(args[0])
			if err != nil {
				return cty.NilVal, err
			}
			for i, e := range all {
				if same, err := stdlib.Equal(e, args[1]); err == nil && same.IsKnown() && same.True() {
					return cty.NumberIntVal(int64(i)), nil
				}
			}
			return cty.NilVal, errors.New("the list does not have it")
		},
	})
	// convertFunc is convert(value, type).
	convertFunc = typeexpr.ConvertFunc

	unixtimestampparse = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "seconds", Type: cty.Number}},
		Type: function.StaticReturnType(cty.Object(map[string]cty.Type{
			"year": cty.Number, "year_day": cty.Number, "day": cty.Number, "month": cty.Number, "month_name": cty.String, "weekday": cty.Number, "weekday_name": cty.String,
			"hour": cty.Number, "minute": cty.Number, "second": cty.Number, "rfc3339": cty.String, "iso_year": cty.Number, "iso_week": cty.Number,
		})),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			seconds, _ := args[0].AsBigFloat().Int64()
			t := time.Unix(seconds, 0).UTC()
			number := func(n int) cty.Value { return cty.NumberIntVal(int64(n)) }
			year, week := t.ISOWeek()
			return cty.ObjectVal(map[string]cty.Value{
				"year": number(t.Year()), "year_day": number(t.YearDay()), "day": number(t.Day()), "month": number(int(t.Month())), "month_name": cty.StringVal(t.Month().String()),
				"weekday": number(int(t.Weekday())), "weekday_name": cty.StringVal(t.Weekday().String()),
				"hour": number(t.Hour()), "minute": number(t.Minute()), "second": number(t.Second()), "rfc3339": cty.StringVal(t.Format(time.RFC3339)),
				"iso_year": number(year), "iso_week": number(week),
			}), nil
		},
	})
	// formattimestamp is formatdate of seconds since 1970.
	formattimestamp = function.New(&function.Spec{
		Params: []function.Parameter{{Name: "format", Type: cty.String}, {Name: "seconds", Type: cty.Number}},
		Type:   function.StaticReturnType(cty.String),
		Impl: func(args []cty.Value, _ cty.Type) (cty.Value, error) {
			seconds, _ := args[1].AsBigFloat().Int64()
			return stdlib.FormatDate(args[0], cty.StringVal(time.Unix(seconds, 0).UTC().Format(time.RFC3339)))
		},
	})
)

// maxCost bounds what a hash of a password costs.
const maxCost = 18

var unfit = pattern(`[^a-zA-Z0-9_-]+`)

func md5Sum(b []byte) string    { return fmt.Sprintf("%x", md5.Sum(b)) }
func sha1Sum(b []byte) string   { return fmt.Sprintf("%x", sha1.Sum(b)) }
func sha256Sum(b []byte) string { return fmt.Sprintf("%x", sha256.Sum256(b)) }
func sha512Sum(b []byte) string { return fmt.Sprintf("%x", sha512.Sum512(b)) }

func hashed(sum func([]byte) string) function.Function {
	return ofTexts([]string{"text"}, func(a []string) (string, error) { return sum([]byte(a[0])), nil })
}

// uuid writes a UUID of a version: RFC 9562.
func uuid(b []byte, version byte) string {
	b[6] = b[6]&0x0f | version<<4
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}

// newUUIDv5 names a thing in a namespace: one of dns, url, oid, x500, or a UUID.
func newUUIDv5(a []string) (string, error) {
	space := map[string]string{
		"dns": "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "url": "6ba7b811-9dad-11d1-80b4-00c04fd430c8",
		"oid": "6ba7b812-9dad-11d1-80b4-00c04fd430c8", "x500": "6ba7b814-9dad-11d1-80b4-00c04fd430c8",
	}[a[0]]
	if space == "" {
		space = a[0]
	}
	var b []byte
	if n, err := fmt.Sscanf(strings.ReplaceAll(space, "-", ""), "%x", &b); n != 1 || err != nil || len(b) != 16 {
		return "", fmt.Errorf("%q is no UUID", a[0])
	}
	sum := sha1.Sum(append(b, a[1]...))
	return uuid(sum[:16], 5), nil
}
