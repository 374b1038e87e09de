"""Comma-separated values (RFC 4180): ``text,label``. Fields in double quotes may hold commas and line breaks."""

from bigray.data.readers._delimited import Delimited

READER = Delimited(",")
