package bake

import (
	"encoding/csv"
	"errors"
	"fmt"
	"strings"

	"github.com/zclconf/go-cty/cty"
	"github.com/zclconf/go-cty/cty/convert"
	ctyjson "github.com/zclconf/go-cty/cty/json"
)

// fromText is a text as a value of a type. exact says that the type was declared.
func fromText(text string, kind cty.Type, exact bool) (cty.Value, error) {
	if kind.IsPrimitiveType() {
		v, err := convert.Convert(cty.StringVal(text), kind)
		if err != nil {
			return v, fmt.Errorf("%q is no %s", text, kind.FriendlyName())
		}
		return v, nil
	}
	if kind == cty.DynamicPseudoType {
		return cty.StringVal(text), nil
	}
	if !exact {
		return cty.DynamicVal, fmt.Errorf("it is a %s, and %q is a text: say its type", kind.FriendlyName(), text)
	}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil && text != "" {
		return cty.DynamicVal, err
	}
	switch {
	case kind.IsListType(), kind.IsSetType():
		values := make([]cty.Value, 0, len(fields))
		for _, f := range fields {
			v, err := fromText(f, kind.ElementType(), exact)
			if err != nil {
				return v, err
			}
			values = append(values, v)
		}
		return convert.Convert(cty.TupleVal(values), kind)
	case kind.IsMapType():
		values := map[string]cty.Value{}
		for _, f := range fields {
			key, value, ok := strings.Cut(f, "=")
			if !ok {
				return cty.DynamicVal, fmt.Errorf("%q is not KEY=VALUE", f)
			}
			v, err := fromText(value, kind.ElementType(), exact)
			if err != nil {
				return v, err
			}
			values[key] = v
		}
		return convert.Convert(cty.ObjectVal(values), kind)
	default:
		return fromJSON(text, kind)
	}
}

// fromJSON is a value of a type, written as JSON.
func fromJSON(text string, kind cty.Type) (cty.Value, error) {
	implied, err := ctyjson.ImpliedType([]byte(text))
	if err != nil {
		return cty.DynamicVal, fmt.Errorf("%q is no JSON", text)
	}
	v, err := ctyjson.Unmarshal([]byte(text), implied)
	if err != nil {
		return v, err
	}
	return convert.Convert(v, kind)
}

// text shows a value.
func text(v cty.Value) string {
	if s, err := asText(v); err == nil && s != nil {
		return *s
	}
	data, err := ctyjson.Marshal(v, v.Type())
	if err != nil {
		return v.GoString()
	}
	return string(data)
}

// asText is a value that can be a text; nil where it is nothing.
func asText(v cty.Value) (*string, error) {
	if v.IsNull() {
		return nil, nil
	}
	v, err := convert.Convert(v, cty.String)
	if err != nil {
		return nil, errors.New("it is not a text")
	}
	if !v.IsKnown() {
		return nil, errors.New("it is not known")
	}
	s := v.AsString()
	return &s, nil
}

func asBool(v cty.Value) (*bool, error) {
	if v.IsNull() {
		return nil, nil
	}
	v, err := convert.Convert(v, cty.Bool)
	if err != nil {
		return nil, errors.New("it is neither true nor false")
	}
	b := v.True()
	return &b, nil
}

// elements are those of a list; nothing in it is left out.
func elements(v cty.Value) ([]cty.Value, error) {
	if v.IsNull() {
		return nil, nil
	}
	if !v.CanIterateElements() || v.Type().IsObjectType() || v.Type().IsMapType() {
		return nil, errors.New("it is not a list")
	}
	all := []cty.Value{}
	for it := v.ElementIterator(); it.Next(); {
		if _, e := it.Element(); !e.IsNull() {
			all = append(all, e)
		}
	}
	return all, nil
}

func asTexts(v cty.Value) ([]string, error) {
	values, err := elements(v)
	if values == nil || err != nil {
		return nil, err
	}
	texts := []string{}
	for _, e := range values {
		s, err := asText(e)
		if err != nil {
			return nil, err
		}
		texts = append(texts, *s)
	}
	return texts, nil
}

func asMap(v cty.Value) (map[string]*string, error) {
	if v.IsNull() {
		return nil, nil
	}
	if !v.Type().IsObjectType() && !v.Type().IsMapType() {
		return nil, errors.New("it is not a map")
	}
	all := map[string]*string{}
	for it := v.ElementIterator(); it.Next(); {
		key, value := it.Element()
		s, err := asText(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", key.AsString(), err)
		}
		all[key.AsString()] = s
	}
	return all, nil
}

// asAttrs is a list of texts and of maps.
func asAttrs(v cty.Value) ([]Attrs, error) {
	values, err := elements(v)
	if values == nil || err != nil {
		return nil, err
	}
	all := []Attrs{}
	for _, e := range values {
		if e.Type().IsObjectType() || e.Type().IsMapType() {
			keys, err := asMap(e)
			if err != nil {
				return nil, err
			}
			a := Attrs{Keys: map[string]string{}}
			for key, value := range keys {
				if value != nil {
					a.Keys[key] = *value
				}
			}
			all = append(all, a)
			continue
		}
		s, err := asText(e)
		if err != nil {
			return nil, err
		}
		if *s != "" {
			all = append(all, ParseAttrs(*s))
		}
	}
	return all, nil
}
